// The panels. Each takes what the API said and returns its nodes; null hides the panel, for want of a permission.

function head(id, title, note = "") {
  return h("div", { class: "head" }, h("h2", { id: `${id}-title`, tabindex: "-1" }, title), h("span", { class: "quiet" }, note));
}

function empty(text) {
  return h("p", { class: "empty" }, text);
}

/** For a part that the API did not give: the message of its answer. */
function notLoaded(id, title, failure) {
  return [head(id, title), h("p", { class: "empty refused" }, `Not loaded: ${failure}`)];
}

/** Where a beginner goes on. */
function emptyUntil(text, call) {
  return h("p", { class: "empty" }, text, " ", h("code", {}, call), " makes the first (", h("a", { href: "/api/docs" }, "how"), ").");
}

function rateTone(rate) {
  return rate == null ? "" : rate >= 0.99 ? "good" : rate >= 0.8 ? "warn" : "bad";
}

function total(label, value, { note = "", tone = "", name = "" } = {}) {
  return h("dl", { class: `total ${tone}`.trim() }, h("dt", {}, label),
    h("dd", { "data-total": name || null }, value), note && h("dd", { class: "note" }, note));
}

function totalsPanel({ overview, alerts }) {
  const { deliveries } = overview;
  const nodes = [];
  if (deliveries) {
    const rate = deliveries.successRate;
    nodes.push(
      total("Delivered", count(deliveries.succeeded), { name: "succeeded", note: `of ${count(deliveries.total)} attempts` }),
      total("Success rate", percent(rate), { name: "successRate", tone: rateTone(rate), note: "of attempts" }),
      total("Failed attempts", count(deliveries.failed), { name: "failed", tone: deliveries.failedForGood ? "bad" : deliveries.failed ? "warn" : "", note: deliveries.failed ? `${count(deliveries.failedForGood)} failed for good` : "" }),
      total("Latency p95", milliseconds(deliveries.latency?.p95Ms), { name: "p95Ms", note: `p50 ${milliseconds(deliveries.latency?.p50Ms)}` }),
    );
  }
  if (overview.integrations) {
    const { length } = overview.integrations;
    const ill = overview.integrations.filter(isIll).length;
    nodes.push(total("Integrations", count(length), { name: "integrations", tone: ill ? "bad" : "", note: ill ? `${ill} not well` : length ? "all well" : "" }));
  }
  if (alerts) {
    nodes.push(total("Open alerts", count(alerts.open), { name: "alerts", tone: alerts.open ? "bad" : "" }));
  }
  return nodes;
}

function throughputPanel({ overview: { deliveries, by } }) {
  if (!deliveries) return null;
  const { series } = deliveries;
  if (!deliveries.total) return [head("throughput", "Deliveries"), empty("Nothing was sent in this time.")];
  const label = `Attempts each ${by}: ${count(deliveries.succeeded)} succeeded, ${count(deliveries.failed)} failed`;
  return [
    head("throughput", "Deliveries", `attempts each ${by}`),
    stackedBars(label, series),
    legend([["ok", "succeeded", "bar"], ["ko", "failed", "bar"], ["ok so-far", `this ${by}, so far`, "bar"]]),
    figures("Deliveries over time", ["From", "Succeeded", "Failed", "Success rate"], series.map((one) => [
      shortTime(one.start, true), count(one.succeeded), count(one.failed), percent(one.total ? one.succeeded / one.total : null)])),
  ];
}

function latencyPanel({ overview: { deliveries } }) {
  if (!deliveries) return null;
  const { series, latency } = deliveries;
  if (!latency) return [head("latency", "Latency"), empty("Nothing was sent in this time.")];
  const percentiles = ["p50", "p95", "p99"];
  const label = `Response times of receivers: ${percentiles.map((name) => `${name} ${milliseconds(latency[`${name}Ms`])}`).join(", ")}`;
  return [
    head("latency", "Latency", "until the receiver answered"),
    lines(label, series, percentiles.map((name) => ({ name, of: (point) => point.latency?.[`${name}Ms`] }))),
    legend(percentiles.map((name) => [name, `${name} ${milliseconds(latency[`${name}Ms`])}`, "line"])),
    figures("Latency over time", ["From", ...percentiles], series.filter((one) => one.latency).map((one) => [
      shortTime(one.start, true), ...percentiles.map((name) => milliseconds(one.latency[`${name}Ms`]))])),
  ];
}

function integrationsPanel({ overview: { integrations } }) {
  if (!integrations) return null;
  if (!integrations.length) return [head("integrations", "Integrations"), emptyUntil("No integration is connected yet.", "POST /api/integrations")];
  return [
    head("integrations", "Integrations", "response times of the latest health checks"),
    h("ul", { class: "cards" }, integrations.toSorted((one, other) => isIll(other) - isIll(one)).map((one) => {
      const checks = one.samples.length;
      const failed = one.samples.filter((sample) => sample.failed).length;
      const state = one.status === "Active" ? one.healthStatus : one.status;
      return h("li", { class: `card ${TONES[state] ?? "unknown"}`, "data-integration": one.integrationId },
        h("div", { class: "line-up" }, h("h3", {}, one.name), badge(state)),
        h("p", {}, `${one.provider}. `, one.lastHealthCheck ? ["Checked ", ago(one.lastHealthCheck), "."] : "Not checked yet."),
        one.reason && h("p", {}, one.reason),
        failed > 0 && h("p", {}, `${count(failed)} of ${many(checks, "check", "checks")} failed.`),
        checks ? sparkline(`${checks} health checks of ${one.name}, ${failed} failed`, one.samples) : null);
    })),
  ];
}

/** Whether somebody should look: it is not healthy, or it should be active and is not. */
function isIll({ status, healthStatus }) {
  return ["Suspended", "Error", "PendingValidation"].includes(status) || (status === "Active" && ["Degraded", "Unhealthy"].includes(healthStatus));
}

/** What tells a webhook from the others: its host, with its description, or with its id where nothing else does. */
function webhookName(webhook, webhooks) {
  const plain = ({ urlHost, description }) => (description ? `${urlHost} (${description})` : urlHost);
  const isAlone = webhooks.every((one) => one.webhookId === webhook.webhookId || plain(one) !== plain(webhook));
  return isAlone ? plain(webhook) : `${plain(webhook)} …${webhook.webhookId.slice(-6)}`;
}

/** Endpoints that fail first; `act(verb, webhook)` does what a button says. */
function endpointsPanel({ overview: { webhooks } }, act) {
  if (!webhooks) return null;
  if (!webhooks.length) return [head("endpoints", "Webhook endpoints"), emptyUntil("No webhook is subscribed yet.", "POST /api/webhooks")];
  const shown = webhooks.toSorted((one, other) => needsLook(other) - needsLook(one));
  const failing = webhooks.filter(needsLook).length;
  return [
    head("endpoints", "Webhook endpoints", failing ? `${count(failing)} to look at` : "all well"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of webhook endpoints" },
      h("table", { class: "stacked" },
        h("thead", {}, h("tr", {}, ["Endpoint", "State", "Attempts", "Success rate", "p95", "Failed for good", "Main cause"].map((name) => h("th", { scope: "col" }, name)),
          h("th", { scope: "col" }, h("span", { class: "hidden-label" }, "Actions")))),
        h("tbody", {}, shown.map((one) => [one, webhookName(one, webhooks)]).map(([one, name]) => h("tr", { "data-webhook": one.webhookId },
          h("th", { scope: "row" }, one.urlHost, name !== one.urlHost && h("span", { class: "quiet aside" }, name.slice(one.urlHost.length).trim())),
          cell("State", badge(isFailing(one) ? "Failing" : one.state)),
          cell("Attempts", count(one.total)),
          cell("Success rate", h("span", { class: rateTone(one.successRate) || null }, percent(one.successRate))),
          cell("p95", milliseconds(one.latency?.p95Ms)),
          cell("Failed for good", count(one.failedForGood)),
          h("td", { "data-label": "Main cause" }, one.disabledReason ?? one.lastError ?? "–"),
          h("td", { class: "plain" }, h("div", { class: "row-actions" },
            one.failedForGood > 0 && one.state === "Active" && button("Retry failed", `Retry what failed at ${name}`, () => act("retry", one)),
            one.state === "PendingVerification" && button("Verify", `Verify ${name}`, () => act("verify", one)),
            ["Disabled", "Paused"].includes(one.state) && button("Enable", `Enable ${name}`, () => act("enable", one)),
            button("Test", `Send a test to ${name}`, () => act("test", one))))))))),
  ];
}

function isFailing({ state, successRate }) {
  return state === "Active" && rateTone(successRate) === "bad";
}

function needsLook(webhook) {
  return webhook.state === "Disabled" || webhook.failedForGood > 0 || isFailing(webhook);
}

function cell(label, ...content) {
  return h("td", { class: "figure", "data-label": label }, content);
}

function button(text, label, onclick) {
  return h("button", { type: "button", "aria-label": label, onclick: (event) => whileBusy(event.currentTarget, onclick) }, text);
}

/** Not `disabled`, which would take the focus away from who works by keyboard. */
async function whileBusy(element, work) {
  if (element.ariaDisabled) return;
  element.ariaDisabled = "true";
  try {
    await work();
  } finally {
    element.ariaDisabled = null;
  }
}

function syncsPanel({ overview: { syncs } }) {
  if (!syncs) return null;
  const note = syncs.length ? "live" : "";
  return [
    head("syncs", "Synchronisations", note),
    syncs.length
      ? h("ul", { class: "items" }, syncs.map((one) => h("li", { "data-sync": one.dataSyncJobId }, syncLine(one))))
      : empty("Nothing is being synchronised."),
  ];
}

/** The inside of one job's row; drawn again for every progress message. */
function syncLine(job) {
  const done = job.recordsProcessed + job.recordsFailed;
  const known = job.recordsTotal > 0;
  const name = job.integrationName ?? job.integrationId;
  return [
    h("div", { class: "line-up" }, h("h3", {}, name), h("span", { class: "quiet" }, job.status)),
    h("progress", { max: known ? job.recordsTotal : null, value: known ? Math.min(done, job.recordsTotal) : null, "aria-label": `Progress of ${name}` }),
    h("p", { class: "quiet" },
      `${count(job.recordsProcessed)}${known ? ` of ${count(job.recordsTotal)}` : ""} records`,
      job.recordsFailed ? `, ${count(job.recordsFailed)} failed` : "",
      job.ratePerSecond ? `, ${count(Math.round(job.ratePerSecond))} a second` : "",
      job.etaSeconds != null ? `, about ${duration(job.etaSeconds)} left` : ""),
  ];
}

function keysPanel({ overview: { apiKeys } }) {
  if (!apiKeys) return null;
  if (!apiKeys.length) return [head("keys", "API keys"), emptyUntil("There is no API key yet.", "POST /api/apikeys")];
  const inUse = apiKeys.filter((one) => one.used > 0).sort((a, b) => b.used / b.limit - a.used / a.limit);
  const used = inUse.slice(0, 10);
  return [
    head("keys", "API keys", "share of the hourly quota"),
    used.length
      ? h("ul", { class: "items" }, used.map((one) => h("li", {},
          h("div", { class: "line-up" }, h("h3", {}, one.keyName), h("span", { class: one.used / one.limit >= 0.8 ? "refused" : "quiet" }, `${count(one.used)} of ${count(one.limit)}`)),
          h("meter", { min: 0, max: one.limit, low: one.limit * 0.8 - 0.5, high: one.limit - 0.5, optimum: 0, value: Math.min(one.used, one.limit), "aria-label": `Quota used by ${one.keyName}` }))))
      : empty("No key was used within the hour."),
    inUse.length > used.length && h("p", { class: "quiet" }, `The ${used.length} nearest to their limit, of ${count(inUse.length)} in use.`),
  ];
}
