// Charts in SVG, drawn from numbers that the page also shows as a table.

const SVG = "http://www.w3.org/2000/svg";
const CHART = { width: 720, height: 200, left: 96, right: 8, top: 18, bottom: 26 };

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children.flat(2).filter((child) => child != null));
  return element;
}

/** The smallest of 1, 2 or 5 times a power of ten that is no less than `value`. */
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function frame(label, most, points, format) {
  const { width, height, left, right, top, bottom } = CHART;
  const inner = { width: width - left - right, height: height - top - bottom };
  const x = (index) => left + (inner.width * index) / Math.max(points.length, 1);
  const y = (value) => top + inner.height * (1 - value / most);
  const rules = [0, most / 2, most].map((value) => [
    s("line", { class: "rule", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
    s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ]);
  const every = Math.max(1, Math.ceil(points.length / 8));
  const days = points.length > 1 && new Date(points.at(-1).start) - new Date(points[0].start) > 36 * 3600e3;
  const times = points
    .map((point, index) => [point, index])
    .filter(([point, index]) => (days ? new Date(point.start).getHours() === 0 : index % every === 0))
    .map(([point, index]) => s("text", { class: "time", x: x(index), y: height - 4 }, days ? day.format(new Date(point.start)) : shortTime(point.start)));
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, rules, times);
  return { chart, x, y, step: inner.width / Math.max(points.length, 1), floor: y(0) };
}

/** Stacked bars: what succeeded, and on top of it what did not, of which a little is seen beside a lot. The last is of
 * an hour that is not over. */
function stackedBars(label, points) {
  const most = roundUp(Math.max(...points.map((point) => point.succeeded + point.failed), 1));
  const { chart, x, y, step, floor } = frame(label, most, points, compact);
  points.forEach((point, index) => {
    const width = Math.max(step * 0.8, 1);
    const ok = y(point.succeeded);
    const ko = point.failed ? Math.max(ok - y(point.succeeded + point.failed), 3) : 0;
    chart.append(s("g", { class: index === points.length - 1 ? "so-far" : null },
      s("rect", { class: "ok", x: x(index), y: ok, width, height: Math.max(floor - ok, 0) }),
      s("rect", { class: "ko", x: x(index), y: ok - ko, width, height: ko })));
  });
  return chart;
}

/** Lines over the same points; a value of null leaves a gap. */
function lines(label, points, series) {
  const all = points.flatMap((point) => series.map((one) => one.of(point))).filter((value) => value != null);
  const most = roundUp(Math.max(...all, 1));
  const { chart, x, y, step } = frame(label, most, points, milliseconds);
  for (const one of series) {
    let pen = "M";
    let path = "";
    let lone = [];
    points.forEach((point, index) => {
      const value = one.of(point);
      if (value == null) return void (pen = "M");
      const at = [x(index) + step / 2, y(value)];
      path += `${pen}${at[0].toFixed(1)} ${at[1].toFixed(1)}`;
      if (pen === "M" && (index + 1 === points.length || one.of(points[index + 1]) == null)) lone.push(at);
      pen = "L";
    });
    // A point whose neighbours are gaps would draw no line.
    lone = lone.map(([cx, cy]) => s("path", { class: `line ${one.name}`, d: `M${cx - 5} ${cy}h10` }));
    chart.append(s("path", { class: `line ${one.name}`, d: path || "M0 0" }), ...lone);
  }
  return chart;
}

/** A small line of response times; a failed check is a red mark. `samples`: `{milliseconds, failed}`. */
function sparkline(label, samples) {
  const most = Math.max(...samples.map((one) => one.milliseconds), 1);
  const step = 100 / Math.max(samples.length - 1, 1);
  const at = (one, index) => [index * step, 28 - (26 * one.milliseconds) / most];
  // One check is no line: it is drawn across.
  const path = samples.length === 1 ? `M0 ${at(samples[0], 0)[1]}h100` : samples.map((one, index) => `${index ? "L" : "M"}${at(one, index).map((n) => n.toFixed(1)).join(" ")}`).join("");
  const failed = samples.map((one, index) => one.failed && s("rect", { x: Math.min(index * step, 99), y: 0, width: 1, height: 30 }));
  return s("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label },
    failed.filter(Boolean), s("path", { d: path || "M0 28h100" }));
}

function legend(entries) {
  return h("ul", { class: "legend" }, entries.map(([name, text, kind]) =>
    h("li", {}, s("svg", { class: "chart-key", viewBox: "0 0 28 14", "aria-hidden": "true" },
      kind === "bar" ? s("rect", { class: name, width: 28, height: 14 }) : s("path", { class: `line ${name}`, d: "M0 7h28" })), text)));
}

/** The same figures for those who would rather read them. */
function figures(caption, columns, rows) {
  return h("details", { class: "figures" }, h("summary", { "aria-label": `Figures: ${caption}` }, "Figures"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", {}, h("caption", { class: "hidden-label" }, caption),
        h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map(([first, ...rest]) =>
          h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell))))))));
}
