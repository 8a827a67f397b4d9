// The page: sign in, load, draw, keep up to date.

const PANELS = {
  totals: totalsPanel, alerts: alertsPanel, anomalies: anomaliesPanel, recommendations: recommendationsPanel, throughput: throughputPanel, latency: latencyPanel, integrations: integrationsPanel,
  endpoints: endpointsPanel, syncs: syncsPanel, keys: keysPanel,
};
const REFRESH_SECONDS = 30;
const GATHER_MS = 400;

const at = (id) => document.getElementById(id);
const state = { drawn: {}, data: null, loading: null, again: false, timer: 0, gather: 0, stop: null };

async function load() {
  const [overview, alerts, anomalies, recommendations] = await Promise.all([
    api("GET", `/insights/overview?hours=${at("range").value}`),
    optional("/alerts?status=Open,Acknowledged&pageSize=20"),
    optional("/insights/anomalies?acknowledged=false&pageSize=10"),
    optional("/insights/recommendations?status=Open&pageSize=10"),
  ]);
  return { overview, alerts, anomalies, recommendations };
}

/** Load and draw once, however often it is asked for meanwhile; then once more if it was. */
function refresh() {
  state.again = state.loading !== null;
  state.loading ??= update().finally(() => {
    state.loading = null;
    if (state.again) refresh();
  });
  return state.loading;
}

async function update() {
  clearTimeout(state.timer);
  try {
    state.data = await load();
    draw();
    trouble("");
  } catch (error) {
    if (error instanceof Refused && (error.status === 401 || (error.status === 403 && !state.data))) return signOut(error.message);
    trouble(error instanceof Refused ? error.message : "The hub does not answer. Trying again.");
  }
  if (session.token) state.timer = setTimeout(refresh, REFRESH_SECONDS * 1000);
  return undefined;
}

/** Draw the panels whose data changed, so that focus and open figures stay where they are. */
function draw() {
  for (const [id, panel] of Object.entries(PANELS)) {
    const section = at(id);
    const nodes = panel(state.data, act);
    section.hidden = nodes === null;
    const fresh = h("div", {}, nodes ?? []);
    if (state.drawn[id] === fresh.innerHTML) continue;
    state.drawn[id] = fresh.innerHTML;
    const opened = section.querySelector("details")?.open;
    const focused = section.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    section.replaceChildren(...fresh.childNodes);
    if (opened) section.querySelector("details").open = true;
    if (focused) section.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }
  at("freshness").replaceChildren("As of ", h("time", { datetime: new Date().toISOString() }, new Date().toLocaleTimeString()), ".");
}

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

function say(text) {
  at("said").textContent = text;
}

const ACTS = {
  acknowledgeAlert: async (alert) => {
    await api("POST", `/alerts/${alert.alertId}/acknowledge`, {});
    return "The alert is acknowledged.";
  },
  acknowledgeAnomaly: async (anomaly) => {
    await api("POST", `/insights/anomalies/${anomaly.anomalyId}/acknowledge`, {});
    return "The anomaly is acknowledged.";
  },
  snoozeAnomaly: async (anomaly) => {
    await api("POST", `/insights/anomalies/${anomaly.anomalyId}/snooze`, { hours: 24 });
    await api("POST", `/insights/anomalies/${anomaly.anomalyId}/acknowledge`, { note: "Snoozed for a day." });
    return "Nothing more is told of it for a day.";
  },
  applyRecommendation: async (one) => {
    await api("POST", `/insights/recommendations/${one.recommendationId}/apply`, {});
    return `Applied to ${one.subject.name}: ${one.title}`;
  },
  dismissRecommendation: async (one) => {
    await api("POST", `/insights/recommendations/${one.recommendationId}/dismiss`, { reason: "Dismissed on the dashboard." });
    return `Dismissed for ${one.subject.name}: ${one.title}`;
  },
  retry: async (webhook) => {
    const since = new Date(Date.now() - at("range").value * 3600e3).toISOString();
    const { replayed } = await api("POST", `/webhooks/${webhook.webhookId}/replay`, { from: since, status: ["Failed", "Expired"] });
    return `${count(replayed)} deliveries to ${webhook.urlHost} are sent again.`;
  },
  enable: async (webhook) => {
    await api("PUT", `/webhooks/${webhook.webhookId}`, { isActive: true });
    return `${webhook.urlHost} is enabled.`;
  },
  test: async (webhook) => {
    const delivery = await api("POST", `/webhooks/${webhook.webhookId}/test`, {});
    return `Test of ${webhook.urlHost}: ${delivery.deliveryStatus}${delivery.httpStatusCode ? ` with ${delivery.httpStatusCode}` : ""}.`;
  },
};

async function act(verb, subject) {
  try {
    say(await ACTS[verb](subject));
  } catch (error) {
    trouble(error instanceof Refused ? error.message : "The hub does not answer.");
  }
  await refresh();
}

/** A realtime message: progress is drawn at once, everything else is a reason to look again soon. */
function hear(target, updates) {
  if (target === "syncProgress") updates.forEach(progress);
  state.gather ||= setTimeout(() => {
    state.gather = 0;
    refresh();
  }, GATHER_MS);
}

function progress(update) {
  const row = [...document.querySelectorAll("[data-sync]")].find((one) => one.dataset.sync === update.dataSyncJobId);
  const known = state.data?.overview.syncs?.find((one) => one.dataSyncJobId === update.dataSyncJobId);
  if (!row || !known) return;
  Object.assign(known, update);
  row.replaceChildren(...h("div", {}, syncLine(known)).childNodes);
  delete state.drawn.syncs;
}

function connected(is) {
  at("live").hidden = false;
  at("live").className = `live ${is ? "on" : "off"}`;
  at("live-text").textContent = is ? "Live" : "Reconnecting";
}

async function signIn(event) {
  event.preventDefault();
  at("refusal").textContent = "";
  session.enter(at("token").value.trim().replace(/^Bearer\s+/i, ""), at("keep").checked);
  await start();
}

async function start() {
  await refresh();
  if (!session.token || !state.data) {
    if (session.token) signOut("The hub does not answer. Try again.");
    return;
  }
  at("token").value = "";
  at("sign-in").hidden = true;
  for (const id of ["board", "leave", "range-tool"]) at(id).hidden = false;
  state.stop = listen(hear, connected);
}

function signOut(reason = "") {
  session.leave();
  barred.clear();
  clearTimeout(state.timer);
  clearTimeout(state.gather);
  state.stop?.();
  Object.assign(state, { data: null, drawn: {}, gather: 0, stop: null });
  for (const id of Object.keys(PANELS)) at(id).replaceChildren();
  for (const id of ["board", "leave", "range-tool", "live"]) at(id).hidden = true;
  at("sign-in").hidden = false;
  at("refusal").textContent = reason;
  at("token").focus();
}

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  at("theme").textContent = `Theme: ${name}`;
  localStorage.setItem("integration-hub-theme", name);
}

at("sign-in").addEventListener("submit", signIn);
at("leave").addEventListener("click", () => signOut());
at("range").addEventListener("change", refresh);
at("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
});
document.addEventListener("visibilitychange", () => !document.hidden && state.data && refresh());
theme(localStorage.getItem("integration-hub-theme") ?? "auto");
if (session.token) start();
else at("token").focus();
