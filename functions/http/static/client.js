// The API and the realtime connection. The token stays in this file.

const KEEP = "integration-hub-token";

class Refused extends Error {
  constructor(status, problem) {
    const told = problem.detail ?? problem.title ?? `The API answered ${status}.`;
    super(status >= 500 && problem.traceId ? `${told} (traceId ${problem.traceId})` : told);
    this.status = status;
  }
}

const session = {
  token: sessionStorage.getItem(KEEP),
  /** Requests an hour that the API key has; null for a bearer token, which has no quota. */
  quota: null,
  enter(token, keep) {
    this.token = token;
    if (keep) sessionStorage.setItem(KEEP, token);
  },
  leave() {
    this.token = null;
    this.quota = null;
    sessionStorage.removeItem(KEEP);
  },
};

/** Milliseconds between requests: `least`, and with an API key so many that they keep to this share of its quota. */
function pause(least, share) {
  return session.quota ? Math.max(least, 3600e3 / (share * session.quota)) : least;
}

/** JSON of the API. Throws Refused with its problem, or TypeError when there is no answer. */
async function api(method, path, body) {
  const headers = { Authorization: `Bearer ${session.token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method === "POST") headers["Idempotency-Key"] = `dashboard-${Date.now()}-${Math.random().toString(36).slice(2)}`;
  const answer = await fetch(`/api${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  session.quota = Number(answer.headers.get("x-ratelimit-limit")) || session.quota;
  const text = await answer.text();
  const value = text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : {};
  if (!answer.ok) throw new Refused(answer.status, value);
  return value;
}

/**
 * A SignalR connection (JSON hub protocol, version 1) that comes back by itself. `hear(target, argument)` gets each
 * message, `tell(connected)` each change of state. Returns what ends it.
 */
function listen(hear, tell) {
  const END = "\x1e";
  const MINUTE = 60_000;
  let socket = null;
  let ended = false;
  let failures = 0;
  let timer = 0;

  async function connect() {
    let left = 0;
    try {
      const { url, accessToken, expiresAt } = await api("POST", "/realtime/negotiate", {});
      if (ended) return;
      left = Date.parse(expiresAt) - Date.now();
      socket = new WebSocket(await address(url, accessToken));
    } catch {
      return again();
    }
    let beat = 0;
    // SignalR Service leaves the connection open then, and tells it nothing more. This clock may be wrong.
    const over = setTimeout(() => socket.close(), Math.min(Math.max(left, MINUTE), 60 * MINUTE));
    socket.onopen = () => {
      socket.send(JSON.stringify({ protocol: "json", version: 1 }) + END);
      beat = setInterval(() => socket.send(JSON.stringify({ type: 6 }) + END), 15_000);
    };
    socket.onmessage = ({ data }) => data.split(END).filter(Boolean).forEach((text) => take(JSON.parse(text)));
    socket.onclose = () => {
      clearInterval(beat);
      clearTimeout(over);
      again();
    };
  }

  /** Azure SignalR Service and the development host both want a negotiation of their own before the socket. */
  async function address(url, token) {
    const target = new URL(url);
    const negotiate = new URL(target);
    negotiate.pathname = `${target.pathname.replace(/\/$/, "")}/negotiate`;
    negotiate.searchParams.set("negotiateVersion", "1");
    const answer = await fetch(negotiate, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    if (!answer.ok) throw new Refused(answer.status, {});
    const { connectionToken } = await answer.json();
    target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
    target.searchParams.set("id", connectionToken);
    target.searchParams.set("access_token", token);
    return target;
  }

  function take(message) {
    if (message.type === undefined) {
      failures = 0;
      tell(true);
    }
    if (message.type === 1) hear(message.target, message.arguments[0]);
    if (message.type === 7) socket.close();
  }

  function again() {
    if (ended) return;
    tell(false);
    failures += 1;
    timer = setTimeout(connect, pause(Math.min(30_000, 500 * 2 ** Math.min(failures, 6)), 1 / 16));
  }

  connect();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket?.close();
  };
}
