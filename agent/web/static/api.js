// The API of the agent: every request of the page goes through here.

import { t } from "./strings.js";

/** What the agent refuses, or that it cannot be asked. `code` is stable, `detail` a line for people, `hint` may be empty. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || t("api.failed", { status }));
    this.status = status;
    this.code = body.code || "refused";
    this.detail = this.message;
    this.hint = body.hint || "";
    this.digest = body.digest;
    this.key = body.key;
    this.edit = body.edit;
    this.problems = body.problems || [];
  }
}

/** The agent did not answer at all. */
export const UNREACHABLE = "unreachable";

/** An answer: its `body` (JSON, or text if text was asked for), and its entity tag without quotes, which is the digest of a document. */
async function ask(method, path, { body, text, digest, accept = "application/json", headers = {}, signal } = {}) {
  const sent = { Accept: accept, ...headers };
  let content;
  if (text !== undefined) {
    sent["Content-Type"] = "text/plain; charset=utf-8";
    content = text;
  } else if (body !== undefined) {
    sent["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  if (digest !== undefined) sent["If-Match"] = `"${digest}"`;
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body: content, signal, cache: "no-store", credentials: "same-origin" });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Problem(0, { code: UNREACHABLE, detail: t("api.unreachable") });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // no problem document: the status alone tells
  }
  const problem = new Problem(response.status, body);
  if (problem.status === 401) dispatchEvent(new CustomEvent("pathmesh:no-session"));
  return problem;
}

function tagOf(response) {
  return (response.headers.get("etag") || "").replace(/^W\//, "").replaceAll('"', "");
}

/** GET JSON. */
export async function get(path, options = {}) {
  return (await ask("GET", path, options)).json();
}

/** GET JSON or text, with the digest that a write made from it must name: `{body, digest}`. */
export async function read(path, { accept = "application/json", ...options } = {}) {
  const response = await ask("GET", path, { accept, ...options });
  return { body: accept === "text/plain" ? await response.text() : await response.json(), digest: tagOf(response) };
}

/** A write. `body` is sent as JSON, or `text` as plain text; `digest` is what it was made from; `dryRun` checks and writes nothing. */
export async function write(method, path, { body, text, digest, dryRun = false, query = {} } = {}) {
  const parameters = new URLSearchParams(query);
  if (dryRun) parameters.set("dry_run", "true");
  const search = parameters.size ? `?${parameters}` : "";
  const response = await ask(method, path + search, { body, text, digest });
  return { body: await response.json(), digest: tagOf(response) };
}

/** The body of an answer that goes on, as a stream of bytes. */
export async function stream(path, { headers, signal }) {
  return (await ask("GET", path, { accept: "text/event-stream", headers, signal })).body;
}

/** Trade a one-time link for a session. */
export async function logIn(link) {
  await ask("POST", "/login", { body: { link } });
}

/** End the session. */
export async function logOut() {
  await ask("POST", "/logout");
}

/** One segment of a path. */
export const segment = encodeURIComponent;
