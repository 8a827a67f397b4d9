// Numbers and moments for people.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function count(value) {
  return value == null ? "–" : whole.format(value);
}

function many(number, one, more) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

function compact(value) {
  return short.format(value);
}

/** A share of 1 as a percentage that never says 100 % while something failed. */
function percent(share) {
  if (share == null) return "–";
  const shown = Math.floor(share * 1000) / 10;
  return `${share === 1 ? "100" : shown.toFixed(1)} %`;
}

function milliseconds(value) {
  if (value == null) return "–";
  if (value < 1000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
}

function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** How far the hub's clock is ahead of this machine's, in milliseconds. */
let ahead = 0;

/** Now, by the hub's clock, which all of its moments are of. */
function now() {
  return Date.now() + ahead;
}

function ago(moment) {
  return moment ? h("time", { datetime: moment, title: moment }, `${duration(Math.max(0, (now() - new Date(moment)) / 1000))} ago`) : "never";
}

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

function shortTime(moment, withDay) {
  const at = new Date(moment);
  const two = (value) => String(value).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return withDay ? `${day.format(at)} ${time}` : time;
}

/** How good a health status, a webhook state or a severity is, as a class of the style sheet. */
const TONES = {
  Healthy: "good", Degraded: "warn", Unhealthy: "bad", Unknown: "unknown",
  Suspended: "bad", PendingValidation: "warn", Draft: "unknown",
  Active: "good", Paused: "unknown", Disabled: "bad", PendingVerification: "warn",
  Critical: "bad", Error: "bad", High: "bad", Warning: "warn", Medium: "warn", Info: "unknown", Information: "unknown", Low: "unknown",
  Failing: "bad", Now: "bad", Soon: "warn", Later: "unknown", Seen: "warn", Ended: "unknown",
};

function badge(text) {
  return h("span", { class: `badge ${TONES[text] ?? "unknown"}` }, text);
}
