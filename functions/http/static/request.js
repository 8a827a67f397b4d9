// From a filled-in form to a request: sent by this page, or written as a curl line.

const HEADER_TEXT = /^[\x21-\x7e]+$/;

/** The token lives in this variable and in the input; nowhere else. */
let token = "";

/** Method, URL, headers and body of an operation with the values of its form. */
function requestOf(operation, values) {
  let path = operation.path;
  const query = [];
  const headers = {};
  for (const parameter of operation.parameters) {
    const value = (values[`${parameter.in}:${parameter.name}`] ?? "").trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encoded(value) || `{${parameter.name}}`);
    else if (value && parameter.in === "query") query.push(`${encoded(parameter.name)}=${encoded(value)}`);
    else if (value && parameter.in === "header") headers[parameter.name] = value;
  }
  const body = operation.body && values.body?.trim() ? values.body : undefined;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const search = query.length ? `?${query.join("&")}` : "";
  return { method: operation.method, url: location.origin + path + search, headers, body };
}

function encoded(text) {
  return encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** One command for a POSIX shell; the token stays a variable, so that copying the line never copies a secret. */
function curl(request, isAnonymous) {
  const parts = [`curl -i -X ${request.method} ${quoted(request.url)}`];
  if (!isAnonymous) parts.push('-H "Authorization: Bearer $TOKEN"');
  for (const [name, value] of Object.entries(request.headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (request.body !== undefined) parts.push(`--data-binary ${quoted(request.body)}`);
  return parts.join(" \\\n  ");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The answer as text to show. Throws what `fetch` throws, and a TypeError for a token that no header can hold. */
async function send(request, isAnonymous) {
  const headers = { ...request.headers };
  if (token && !isAnonymous) {
    if (!HEADER_TEXT.test(token)) throw new TypeError("The token holds characters that a header cannot carry.");
    headers.Authorization = `Bearer ${token}`;
  }
  const started = performance.now();
  const response = await fetch(request.url, {
    method: request.method,
    headers,
    body: request.body,
    credentials: "omit",
    cache: "no-store",
    redirect: "manual",
  });
  const text = await response.text();
  const milliseconds = Math.round(performance.now() - started);
  const isJson = /json/.test(response.headers.get("content-type") ?? "");
  return {
    status: response.status,
    statusText: response.statusText,
    milliseconds,
    headers: [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n"),
    body: isJson ? prettyText(text) : text,
  };
}

/** Indented JSON; text that only claims to be JSON as it came. */
function prettyText(text) {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text;
  }
}
