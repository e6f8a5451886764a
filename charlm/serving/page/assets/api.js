// What the page asks the server: JSON, and completions as they are drawn.

const ROOT = new URL("../", import.meta.url);
const KEY = "charlm-key";

/** The server refused, or is not there; its message is a sentence for a person. */
export class ApiError extends Error {
  constructor(message, status = 0, code = null) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** Remember the server's key for as long as this tab is open. */
export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** The models that are served. */
export async function models() {
  return (await answered("v1/models")).data;
}

/** What an endpoint answers, such as "score". */
export const ask = (name, body, signal) => answered(`v1/${name}`, body, signal);

/** The events of a completion as they come. */
export async function* stream(body, signal) {
  const response = await sent("v1/completions", { ...body, stream: true }, signal);
  let waiting = "";
  let isDone = false;
  for await (const part of decoded(response.body, signal)) {
    waiting += part;
    const events = waiting.split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") {
        isDone = true;
        continue;
      }
      const found = JSON.parse(data);
      if (found.error) throw new ApiError(found.error.message, response.status, found.error.code);
      yield found;
    }
  }
  if (!isDone) throw gone();
}

async function* decoded(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    let found;
    try {
      found = await reader.read();
    } catch (error) {
      throw signal?.aborted ? error : gone();
    }
    if (found.done) return;
    yield found.value;
  }
}

async function answered(path, body, signal) {
  const response = await sent(path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    throw signal?.aborted ? error : gone();
  }
}

async function sent(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const how = { method: body === undefined ? "GET" : "POST", headers, signal };
  if (body !== undefined) how.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(new URL(path, ROOT), how);
  } catch (error) {
    throw signal?.aborted ? error : gone();
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const { message, code } = told?.error ?? {};
  const busy = "The server is busy: try again in a moment.";
  const said = response.status === 429 ? busy : sentence(message ?? response.statusText);
  throw new ApiError(said, response.status, code);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const gone = () =>
  new ApiError(
    "The server does not answer. Is charlm serve still running? Start it and try again.",
  );
