// Asks the server of this page.

let token = ""; // here alone: neither stored nor in an address

export const hasToken = () => token !== "";
export function setToken(given) {
  token = given;
}

export class Fault extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

export async function ask(path, body, signal) {
  const options = { signal, method: body ? "POST" : "GET", credentials: "omit", headers: {} };
  if (token) options.headers.authorization = `Bearer ${token}`;
  if (body) options.body = body instanceof FormData ? body : JSON.stringify(body);
  const reply = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Fault(0, "the server cannot be reached");
  });
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => ({}));
  throw new Fault(reply.status, said.error?.message ?? said.error ?? `status ${reply.status}`);
}

// Yields the values of server-sent events.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}
