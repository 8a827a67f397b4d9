// What wants somebody's attention: alerts, anomalies, recommendations. Panels as in panels.js.

const MOMENTS = new Set(["new-network", "new-country", "new-client", "scope-probing"]);

function alertsPanel({ alerts, overview }, act) {
  if (!alerts) return null;
  const open = alerts.items.filter((one) => one.status === "Open").length;
  return [
    head("alerts", "Alerts", alerts.total ? `${count(open)} open, ${count(alerts.total - open)} acknowledged` : ""),
    alerts.items.length
      ? h("ul", { class: "items" }, alerts.items.map((one) => h("li", { "data-alert": one.alertId },
          h("div", { class: "line-up" }, h("h3", {}, one.summary), badge(one.severity)),
          h("p", { class: "quiet" }, [words(one.kind), nameOf(one.subject, overview)].filter(Boolean).join(" of "), ", since ", ago(one.openedAt),
            one.occurrences > 1 ? `, seen ${count(one.occurrences)} times` : "", one.note ? `. ${one.note}` : "."),
          one.status === "Open"
            ? h("div", { class: "row-actions" }, button("Acknowledge", `Acknowledge: ${one.summary}`, () => act("acknowledgeAlert", one)))
            : h("p", { class: "quiet" }, "Acknowledged ", ago(one.acknowledgedAt), "."))))
      : empty("Nothing is wrong that the hub knows of."),
  ];
}

function anomaliesPanel({ anomalies }, act) {
  if (!anomalies) return null;
  const shown = anomalies.items.filter((one) => one.status === "Active" || Date.now() - new Date(one.lastSeenAt) < 48 * 3600e3);
  return [
    head("anomalies", "Anomalies", "compared with the same hour in other weeks"),
    shown.length
      ? h("ul", { class: "items" }, shown.map((one) => h("li", { "data-anomaly": one.anomalyId },
          h("div", { class: "line-up" }, h("h3", {}, one.detail), badge(MOMENTS.has(one.metric) ? "Seen" : one.status === "Active" ? "Now" : "Ended")),
          h("p", { class: "quiet" }, `${words(one.metric)}, `, ago(one.startedAt),
            one.hours > 1 ? `, ${count(one.hours)} hours` : "", one.score ? `, ${count(Math.round(one.score))} times the usual variation` : "", "."),
          h("div", { class: "row-actions" },
            button("Acknowledge", `Acknowledge: ${one.detail}`, () => act("acknowledgeAnomaly", one)),
            button("Snooze a day", `Snooze a day: ${one.detail}`, () => act("snoozeAnomaly", one))))))
      : empty("Every hour was as this hour usually is."),
  ];
}

function recommendationsPanel({ recommendations }, act) {
  if (!recommendations) return null;
  return [
    head("recommendations", "Recommendations", recommendations.total ? `${count(recommendations.total)} open` : ""),
    recommendations.items.length
      ? h("ul", { class: "items" }, recommendations.items.map((one) => h("li", { "data-recommendation": one.recommendationId },
          h("div", { class: "line-up" }, h("h3", {}, `${one.subject.name}: ${one.title}`), badge(one.priority)),
          h("p", {}, one.explanation, one.wordedBy === "model" ? h("span", { class: "quiet" }, " Worded by a language model from the evidence.") : ""),
          evidence(one),
          h("div", { class: "row-actions" },
            one.apply && button("Apply", `Apply to ${one.subject.name}: ${one.title}`, () => act("applyRecommendation", one)),
            button("Dismiss", `Dismiss for ${one.subject.name}: ${one.title}`, () => act("dismissRecommendation", one))))))
      : empty("There is nothing to improve that the numbers show."),
  ];
}

function evidence(one) {
  const row = (figure) => [figure.name, `${Number.isInteger(figure.value) ? count(figure.value) : figure.value.toPrecision(3)} ${figure.unit}`];
  return figures(`Evidence about ${one.subject.name}: ${one.title}`, ["Figure", "Value"], [
    ...one.evidence.map(row), ...one.expectedEffect.map((figure) => [`Expected: ${figure.name}`, row(figure)[1]])]);
}

/** What the page calls a webhook, an integration or a key; nothing for what it does not show. */
function nameOf(id, { webhooks, integrations, apiKeys }) {
  return webhooks?.find((one) => one.webhookId === id)?.urlHost
    ?? integrations?.find((one) => one.integrationId === id)?.name
    ?? apiKeys?.find((one) => one.apiKeyId === id)?.keyName;
}

/** `new-network` as people write it. */
function words(name) {
  const text = name.replaceAll("-", " ");
  return text[0].toUpperCase() + text.slice(1);
}

/** Part of the page; null for a caller who may not see it, who is not asked for it again. */
const barred = new Set();

async function optional(path) {
  if (barred.has(path)) return null;
  try {
    return await api("GET", path);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 403) throw error;
    barred.add(path);
    return null;
  }
}
