// The server's routes. Whatever changes something says that it comes from this page.

export class Problem extends Error {
  constructor(status, title) {
    super(title);
    this.status = status;
  }
}

// Nobody answers: the server was stopped, and may come back.
export class Offline extends Error {}

async function call(method, path, body) {
  const headers = {};
  if (method !== "GET") headers["x-csrf"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let response, text;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    text = await response.text();
  } catch {
    throw new Offline("the server does not answer");
  }
  const isJson = response.headers.get("content-type")?.includes("json");
  const answer = isJson ? JSON.parse(text) : null;
  if (response.ok) return answer;
  throw new Problem(response.status, answer?.detail ?? answer?.title ?? `answer ${response.status}`);
}

export const session = () => call("GET", "/session");
export const signIn = (name) => call("POST", "/session", { name });
export const signOut = () => call("DELETE", "/session");
export const leave = () => call("DELETE", "/everything");
export const activity = (after) => call("GET", `/activity?after=${after}`);
export const balances = () => call("GET", "/balances");

export const connections = async () => (await call("GET", "/mesh/connections")).connections;
export const linkToken = async () => (await call("POST", "/mesh/link-token")).linkToken;
export const connect = (payload) => call("POST", "/mesh/connections", payload);
export const accessTokens = async () => (await call("POST", "/mesh/access-tokens")).accessTokens;
export const disconnect = (id) => call("DELETE", `/mesh/connections/${encodeURIComponent(id)}`);
