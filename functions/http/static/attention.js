// What wants somebody's attention: alerts, anomalies, recommendations. Panels as in panels.js.

const MOMENTS = new Set(["new-network", "new-country", "new-client", "scope-probing"]);

const SHOWN = 20;
const SEVERITIES = ["Critical", "Warning", "Information"];

/** Open ones before acknowledged ones, the most severe first, then the newest: as they come. */
function byUrgency(alerts) {
  const rank = (one) => (one.status === "Open" ? 0 : SEVERITIES.length) + SEVERITIES.indexOf(one.severity);
  return alerts.toSorted((one, other) => rank(one) - rank(other));
}

/** That a list goes on, where it does. */
function rest(shown, total, path) {
  return total > shown ? h("p", { class: "quiet" }, shown ? `The first ${count(shown)} of ${count(total)}.` : `${count(total)} older ones have ended.`, " All of them: ", h("code", {}, `GET /api${path}`), ".") : null;
}

function alertsPanel({ alerts, overview }, act) {
  if (!alerts) return null;
  if (alerts.failure) return notLoaded("alerts", "Alerts", alerts.failure);
  const { open, acknowledged } = alerts;
  const shown = byUrgency(alerts.items).slice(0, SHOWN).map((one) => [one, nameOf(one.subject, overview)]);
  const mayAct = overview.permissions.includes("alerts:manage");
  return [
    head("alerts", "Alerts", open + acknowledged ? `${count(open)} open, ${count(acknowledged)} acknowledged` : ""),
    shown.length
      ? h("ul", { class: "items" }, shown.map(([one, name]) => h("li", { "data-alert": one.alertId },
          h("div", { class: "line-up" }, h("h3", {}, one.summary), badge(one.severity)),
          h("p", { class: "quiet" }, [words(one.kind), name].filter(Boolean).join(": "), ", raised ", ago(one.openedAt),
            one.occurrences > 1 ? `, seen ${count(one.occurrences)} times` : "", one.note ? `. ${one.note}` : "."),
          one.reopenings > 0 && h("p", { class: "quiet" }, one.reopenings === 1 ? "Came back once." : `Came back ${count(one.reopenings)} times.`),
          one.status !== "Open" && h("p", { class: "quiet" }, "Acknowledged ", ago(one.acknowledgedAt), "."),
          one.status === "Open" && mayAct && h("div", { class: "row-actions" },
            button("Acknowledge", `Acknowledge: ${one.summary}${name ? ` ${name}` : ""}`, () => act("acknowledgeAlert", one))))))
      : empty("Nothing is wrong that the hub knows of."),
    rest(shown.length, open + acknowledged, "/alerts"),
  ];
}

function anomaliesPanel({ anomalies, overview }, act) {
  if (!anomalies) return null;
  if (anomalies.failure) return notLoaded("anomalies", "Anomalies", anomalies.failure);
  const shown = anomalies.items.filter((one) => one.status === "Active" || now() - new Date(one.lastSeenAt) < 48 * 3600e3);
  const mayAct = overview.permissions.includes("insights:manage");
  return [
    head("anomalies", "Anomalies", "compared with the same hour in other weeks"),
    shown.length
      ? h("ul", { class: "items" }, shown.map((one) => h("li", { "data-anomaly": one.anomalyId },
          h("div", { class: "line-up" }, h("h3", {}, one.detail), badge(MOMENTS.has(one.metric) ? "Seen" : one.status === "Active" ? "Now" : "Ended")),
          h("p", { class: "quiet" }, `${words(one.metric)}, `, ago(one.startedAt),
            one.hours > 1 ? `, ${count(one.hours)} hours` : "", one.score ? `, ${count(Math.round(one.score))} times the usual variation` : "", "."),
          mayAct && h("div", { class: "row-actions" },
            button("Acknowledge", `Acknowledge: ${one.detail}`, () => act("acknowledgeAnomaly", one)),
            button("Snooze a day", `Snooze a day: ${one.detail}`, () => act("snoozeAnomaly", one))))))
      : empty("No open anomaly."),
    rest(shown.length, anomalies.total, "/insights/anomalies?acknowledged=false"),
  ];
}

function recommendationsPanel({ recommendations }, act) {
  if (!recommendations) return null;
  if (recommendations.failure) return notLoaded("recommendations", "Recommendations", recommendations.failure);
  return [
    head("recommendations", "Recommendations", recommendations.total ? `${count(recommendations.total)} open` : ""),
    recommendations.items.length
      ? h("ul", { class: "items" }, recommendations.items.map((one) => h("li", { "data-recommendation": one.recommendationId },
          h("div", { class: "line-up" }, h("h3", {}, `${one.subject.name}: ${one.title}`), badge(one.priority)),
          h("p", {}, inline(one.explanation), one.wordedBy === "model" ? h("span", { class: "quiet" }, " Worded by a language model from the evidence.") : ""),
          evidence(one),
          h("div", { class: "row-actions" },
            one.apply && button("Apply", `Apply to ${one.subject.name}: ${one.title}`, () => act("applyRecommendation", one)),
            button("Dismiss", `Dismiss for ${one.subject.name}: ${one.title}`, () => act("dismissRecommendation", one))))))
      : empty("There is nothing to improve that the numbers show."),
    rest(recommendations.items.length, recommendations.total, "/insights/recommendations?status=Open"),
  ];
}

function evidence(one) {
  const row = (figure) => [figure.name, `${Number.isInteger(figure.value) ? count(figure.value) : figure.value.toPrecision(3)} ${figure.unit}`];
  return figures(`Evidence about ${one.subject.name}: ${one.title}`, ["Figure", "Value"], [
    ...one.evidence.map(row), ...one.expectedEffect.map((figure) => [`Expected: ${figure.name}`, row(figure)[1]]),
    ...(one.apply ? [["Applying sends", `${one.apply.method} ${one.apply.path} ${JSON.stringify(one.apply.body)}`]] : [])]);
}

/** What the page calls a webhook, an integration or a key; nothing for what it does not show. */
function nameOf(id, { webhooks, integrations, apiKeys }) {
  const webhook = webhooks?.find((one) => one.webhookId === id);
  return (webhook && webhookName(webhook, webhooks))
    ?? integrations?.find((one) => one.integrationId === id)?.name
    ?? apiKeys?.find((one) => one.apiKeyId === id)?.keyName;
}

/** `new-network` as people write it. */
function words(name) {
  const text = name.replaceAll("-", " ");
  return text[0].toUpperCase() + text.slice(1);
}

/** Part of the page; null for a caller who may not see it, for whom it is not asked again. The others do not go without
 * because it fails: then `failure` says why. */
const barred = new Set();

async function optional(path) {
  if (barred.has(path)) return null;
  try {
    return await api("GET", path);
  } catch (error) {
    if (error.status === 403) {
      barred.add(path);
      return null;
    }
    if (error.status >= 500) return { failure: error.message };
    throw error;
  }
}
