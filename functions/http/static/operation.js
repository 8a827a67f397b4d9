// One operation as a section of the page.

/** What the page needs of an operation of the document. */
function operationOf(spec, path, method, source, isOutgoing = false) {
  const body = source.requestBody?.content?.["application/json"];
  return {
    id: `op-${source.operationId}`,
    path,
    method: method.toUpperCase(),
    source,
    isOutgoing,
    isAnonymous: source.security?.length === 0,
    parameters: (source.parameters ?? []).map((one) => resolved(spec, one)),
    body,
    examples: body ? examplesOf(spec, body) : [],
    text: [path, method, source.operationId, source.summary, source.description].join(" ").toLowerCase(),
  };
}

function examplesOf(spec, body) {
  if (body.examples) return Object.values(body.examples);
  return [{ summary: "Example", value: body.example ?? sample(spec, body.schema) }];
}

function badge(method) {
  return h("span", { class: `method ${method.toLowerCase()}` }, method);
}

function operationSection(spec, operation) {
  const { source } = operation;
  return h(
    "article",
    { class: "operation", id: operation.id, "aria-labelledby": `${operation.id}-title` },
    h("h3", { id: `${operation.id}-title` }, h("a", { href: `#${operation.id}` }, source.summary)),
    h("p", { class: "route" }, badge(operation.method), " ",
      h("code", {}, operation.isOutgoing ? "your endpoint" : breakable(operation.path))),
    prose(source.description ?? ""),
    parameterTable(spec, operation),
    bodySection(spec, operation),
    h("h4", {}, operation.isOutgoing ? "What your answer means" : "Responses"),
    h("div", { class: "responses" },
      Object.entries(source.responses).map(([status, one]) => responseDetails(spec, status, resolved(spec, one)))),
    operation.isOutgoing ? null : tryIt(spec, operation),
  );
}

/** A path that may wrap after each slash. */
function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part) => [part, h("wbr")]);
}

function parameterTable(spec, operation) {
  if (!operation.parameters.length) return null;
  const rows = operation.parameters.map((one) =>
    h("li", {},
      h("div", { class: "field" }, h("code", { class: "name" }, one.name), " ",
        h("span", { class: "type" }, `${one.in} · ${typeName(spec, one.schema)}`), " ",
        one.required ? h("span", { class: "required" }, "required") : null),
      one.description ? h("div", { class: "about" }, inline(one.description)) : null,
      h("div", { class: "quiet" }, limits(spec, one.schema).join(" · "))));
  return [h("h4", {}, "Parameters"), h("ul", { class: "tree flat" }, rows)];
}

function bodySection(spec, operation) {
  if (!operation.body) return null;
  const optional = operation.source.requestBody.required === false ? " (may be left out)" : "";
  return [
    h("h4", {}, `Body${optional}`),
    h("div", { class: "beside" },
      h("div", {}, tree(spec, operation.body.schema)),
      h("div", {}, operation.examples.map((one) => [
        h("p", { class: "caption" }, one.summary), copyable(pretty(one.value), one.summary)]))),
  ];
}

function responseDetails(spec, status, response) {
  const [mediaType, content] = Object.entries(response.content ?? {})[0] ?? [];
  const headers = Object.entries(response.headers ?? {});
  const fields = content ? tree(spec, content.schema, true) : null;
  const summary = [h("span", { class: `status s${status[0]}` }, status), " ", h("span", {}, inline(response.description))];
  if (!fields && !headers.length && !mediaType) return h("div", { class: "response" }, summary);
  return h("details", { class: "response" }, h("summary", {}, summary),
    mediaType ? h("p", { class: "quiet" }, mediaType) : null,
    fields && status[0] < "4"
      ? h("div", { class: "beside" }, h("div", {}, fields),
        h("div", {}, copyable(pretty(sample(spec, content.schema)), "example answer")))
      : fields,
    headers.length
      ? [h("p", { class: "caption" }, "Headers"), h("ul", { class: "tree flat" }, headers.map(([name, one]) =>
        h("li", {}, h("code", { class: "name" }, name), " ", h("span", { class: "about" }, inline(resolved(spec, one).description ?? "")))))]
      : null);
}

/** The form that sends the request, and the curl line of what it would send. */
function tryIt(spec, operation) {
  const form = h("form", { class: "try", autocomplete: "off", novalidate: true },
    operation.parameters.map((one) => field(spec, operation, one)),
    bodyField(operation),
    h("p", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Send"),
      operation.isAnonymous ? null : h("span", { class: "quiet" }, "with the token above")));
  const current = () => requestOf(operation, Object.fromEntries(new FormData(form)));
  const line = copyable(curl(current(), operation.isAnonymous), "curl command");
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  form.addEventListener("input", () => line.update(curl(current(), operation.isAnonymous)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const missing = [...form.elements].find((one) => one.required && !one.value.trim());
    if (missing) {
      missing.focus();
      answer.replaceChildren(h("p", { class: "refused" }, `${missing.dataset.label} is needed.`));
      return;
    }
    answer.replaceChildren(h("p", { class: "quiet" }, "Sending…"));
    try {
      answer.replaceChildren(...shown(await send(current(), operation.isAnonymous)));
    } catch (error) {
      answer.replaceChildren(h("p", { class: "refused" }, `Not sent: ${error.message}`));
    }
  });
  return [h("h4", {}, "curl"), line, h("details", { class: "tryit" }, h("summary", {}, "Try it"), form, answer)];
}

function shown(answer) {
  return [
    h("p", {}, h("span", { class: `status s${String(answer.status)[0]}` }, String(answer.status)), " ",
      `${answer.statusText} `, h("span", { class: "quiet" }, `${answer.milliseconds} ms`)),
    answer.body ? copyable(answer.body, "answer") : null,
    h("details", {}, h("summary", {}, "Headers"), h("pre", { tabindex: "0" }, answer.headers)),
  ].filter(Boolean);
}

function field(spec, operation, parameter) {
  const id = `${operation.id}-${parameter.in}-${parameter.name}`;
  const schema = resolved(spec, parameter.schema);
  const choices = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  const attributes = {
    id,
    name: `${parameter.in}:${parameter.name}`,
    required: parameter.required,
    "data-label": parameter.name,
  };
  const input = choices
    ? h("select", attributes, h("option", { value: "" }, ""), choices.map((one) => h("option", {}, one)))
    : h("input", { ...attributes, type: "text", spellcheck: "false", placeholder: hint(spec, parameter) });
  return h("p", { class: "input" }, h("label", { for: id }, parameter.name, parameter.required ? " *" : ""), input);
}

function hint(spec, parameter) {
  const values = resolved(spec, resolved(spec, parameter.schema).items).enum;
  return values ? values.slice(0, 2).join(",") : typeName(spec, parameter.schema);
}

function bodyField(operation) {
  if (!operation.body) return null;
  const id = `${operation.id}-body`;
  const text = pretty(operation.examples[0].value);
  const area = h("textarea", { id, name: "body", rows: String(Math.min(16, text.split("\n").length + 1)), spellcheck: "false" });
  area.defaultValue = text;
  return h("p", { class: "input" }, h("label", { for: id }, "Body"), area);
}
