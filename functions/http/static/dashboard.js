// The page: sign in, load, draw, keep up to date.

const PANELS = {
  totals: totalsPanel, alerts: alertsPanel, anomalies: anomaliesPanel, recommendations: recommendationsPanel, throughput: throughputPanel, latency: latencyPanel, integrations: integrationsPanel,
  endpoints: endpointsPanel, syncs: syncsPanel, keys: keysPanel,
};
const REFRESH_SECONDS = 30;
const GATHER_MS = 400;
// Of an API key's quota: a quarter for what changes with every delivery, a quarter for the four requests of the rest.
const LOADS = 1 / 4;
const ATTENDS = 1 / 16;

const at = (id) => document.getElementById(id);
const state = { drawn: {}, data: null, loading: null, again: false, timer: 0, gather: 0, stop: null, attendAt: 0, hush: 0, trouble: "", connected: false };

async function load() {
  const [overview, attention] = await Promise.all([
    api("GET", `/insights/overview?hours=${at("range").value}`),
    Date.now() >= state.attendAt ? attend() : {},
  ]);
  return { ...state.data, overview, ...attention };
}

/** What wants attention: it does not change with every delivery, so it is not asked for with every one. */
async function attend() {
  state.attendAt = Date.now() + pause(REFRESH_SECONDS * 1000, ATTENDS);
  const [open, acknowledged, anomalies, recommendations] = await Promise.all([
    optional("/alerts?status=Open&pageSize=100"),
    optional("/alerts?status=Acknowledged&pageSize=20"),
    optional("/insights/anomalies?acknowledged=false&pageSize=20"),
    optional("/insights/recommendations?status=Open&pageSize=20"),
  ]);
  const failed = [open, acknowledged].find((one) => one?.failure);
  const alerts = failed ?? (open && acknowledged && { items: [...open.items, ...acknowledged.items], open: open.total, acknowledged: acknowledged.total });
  return { alerts, anomalies, recommendations };
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
  clearTimeout(state.gather);
  state.gather = 0;
  try {
    state.data = await load();
    ahead = new Date(state.data.overview.at) - Date.now();
    draw();
    trouble("");
  } catch (error) {
    if (error instanceof Refused && (error.status === 401 || (error.status === 403 && !state.data))) return signOut(error.message);
    trouble(error instanceof Refused ? error.message : "The hub does not answer.");
  }
  if (session.token) state.timer = setTimeout(refresh, pause(REFRESH_SECONDS * 1000, LOADS));
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
    const opened = [...section.querySelectorAll("details[open] > summary")].map((one) => one.ariaLabel);
    const hadFocus = section.contains(document.activeElement);
    const focused = document.activeElement.ariaLabel;
    section.replaceChildren(...fresh.childNodes);
    const named = (label) => section.querySelector(`[aria-label="${CSS.escape(label)}"]`);
    for (const label of opened) if (named(label)) named(label).parentElement.open = true;
    // What was focused may be gone, because it was acted on: then to the panel's title, not back to the page's begin.
    if (hadFocus) ((focused && named(focused)) ?? section.querySelector("h2"))?.focus();
  }
  const seen = new Date(now());
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  at("freshness").replaceChildren("As of ", h("time", { datetime: seen.toISOString() }, shortTime(seen, true)), `. Times are those of ${timeZone}.`);
}

/** Why what is shown is not the latest; nothing when it is. */
function trouble(text) {
  state.trouble = text;
  const seen = state.data && shortTime(state.data.overview.at, true);
  at("trouble").textContent = text && seen ? `${text} What is shown is as of ${seen}; trying again.` : text;
  at("trouble").hidden = !text || !seen;
  tellLive();
}

function tellLive() {
  const isLive = state.connected && !state.trouble;
  at("live").className = `live ${isLive ? "on" : "off"}`;
  at("live-text").textContent = isLive ? "Live" : state.trouble ? "Out of date" : "Reconnecting";
}

/** What came of an action, for a while; also for who scrolled away from the top. */
function say(text, isRefused = false) {
  clearTimeout(state.hush);
  at("said").textContent = text;
  at("said").classList.toggle("refused", isRefused);
  if (text) state.hush = setTimeout(say, 12_000, "");
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
    if (one.apply.isFinal && !confirm(`${one.subject.name}: ${one.title}?\n\nThis cannot be taken back.`)) return "Nothing was changed.";
    await api("POST", `/insights/recommendations/${one.recommendationId}/apply`, {});
    return `Applied to ${one.subject.name}: ${one.title}`;
  },
  dismissRecommendation: async (one) => {
    await api("POST", `/insights/recommendations/${one.recommendationId}/dismiss`, { reason: "Dismissed on the dashboard." });
    return `Dismissed for ${one.subject.name}: ${one.title}`;
  },
  retry: async (webhook) => {
    const since = state.data.overview.deliveries.series[0].start;
    const { replayed, more } = await api("POST", `/webhooks/${webhook.webhookId}/replay`, { from: since, status: ["Failed", "Expired"] });
    if (!replayed) return `Nothing is left to send again to ${webhook.urlHost}.`;
    return `${many(replayed, "delivery", "deliveries")} to ${webhook.urlHost} ${replayed === 1 ? "is" : "are"} sent again${more ? "; there are more" : ""}.`;
  },
  verify: async (webhook) => {
    const { verification } = await api("POST", `/webhooks/${webhook.webhookId}/verify`);
    return `${webhook.urlHost}: ${verification.detail}`;
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
    say(error instanceof Refused ? error.message : "The hub does not answer.", true);
  }
  state.attendAt = 0;
  await refresh();
}

/** A realtime message: progress is drawn at once, everything else is a reason to look again soon. */
function hear(target, updates) {
  if (target === "syncProgress") updates.forEach(progress);
  // Alerts can come by the second, and an API key has no requests for each.
  if (target === "alertChanged" && !session.quota) state.attendAt = 0;
  state.gather ||= setTimeout(refresh, pause(GATHER_MS, LOADS));
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
  state.connected = is;
  at("live").hidden = false;
  tellLive();
}

async function signIn(event) {
  event.preventDefault();
  at("refusal").textContent = "";
  const token = at("token").value.trim().replace(/^Bearer\s+/i, "");
  if (!/^[\x21-\x7e]+$/.test(token)) return signOut("This is no token: it holds spaces or characters that no token has.");
  session.enter(token, at("keep").checked);
  return start();
}

async function start() {
  await refresh();
  if (!session.token || !state.data) {
    if (session.token) signOut(state.trouble);
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
  say("");
  trouble("");
  clearTimeout(state.timer);
  clearTimeout(state.gather);
  state.stop?.();
  Object.assign(state, { data: null, drawn: {}, gather: 0, stop: null, attendAt: 0, connected: false });
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
