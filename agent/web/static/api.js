// The API of the agent: every request of the page goes through here.

import { t } from "./strings.js";

/** What the agent refuses, or that it cannot be asked. `code` is stable, `detail` a line for people, `hint` may be empty. */
export class Problem extends Error {
  constructor(status, body, path = "") {
    super(body.detail || body.title || t("api.failed", { status }));
    this.status = status;
    this.code = body.code || "refused";
    this.detail = this.message;
    this.hint = body.hint || "";
    this.digest = body.digest;
    this.key = body.key;
    this.edit = body.edit;
    this.problems = body.problems || [];
    /** What was asked for. */
    this.path = path;
  }
}

/** The agent did not answer, or not to the end. */
export const UNREACHABLE = "unreachable";
/** How long an answer may take to begin, and then to end. Of a write that takes longer nobody knows what became. */
const READ_PATIENCE_MS = 10_000;
const WRITE_PATIENCE_MS = 30_000;
const FETCH = { cache: "no-store", credentials: "same-origin" };

let asked = "";

/** What `act` gives, and the path that it asks for before it waits for anything, "" for none. */
export function noting(act) {
  asked = "";
  return { given: act(), path: asked };
}

/** What `take` makes of the answer, which it may read only while this waits for it. */
async function ask(method, path, take, { body, text, digest, accept = "application/json" } = {}) {
  asked = path;
  const sent = { Accept: accept };
  let content;
  if (text !== undefined) {
    sent["Content-Type"] = "text/plain; charset=utf-8";
    content = text;
  } else if (body !== undefined) {
    sent["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  if (digest !== undefined) sent["If-Match"] = `"${digest}"`;
  const patience = method === "GET" ? READ_PATIENCE_MS : WRITE_PATIENCE_MS;
  const controller = new AbortController();
  const late = () => controller.abort(unanswered(path, t("api.late", { seconds: patience / 1000 }), t("api.late-hint")));
  let timer = setTimeout(late, patience);
  try {
    const response = await fetch(path, { ...FETCH, method, headers: sent, body: content, signal: controller.signal });
    clearTimeout(timer);
    timer = setTimeout(late, patience);
    if (!response.ok) throw await problemOf(path, response);
    return await take(response);
  } catch (fault) {
    // A body that breaks off or is none is no answer either.
    throw fault instanceof Problem ? fault : unanswered(path);
  } finally {
    clearTimeout(timer);
  }
}

function unanswered(path, detail = t("api.unreachable"), hint = "") {
  return new Problem(0, { code: UNREACHABLE, detail, hint }, path);
}

async function problemOf(path, response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // no problem document: the status alone tells
  }
  const problem = new Problem(response.status, body ?? {}, path);
  if (problem.status === 401) dispatchEvent(new CustomEvent("pathmesh:no-session", { detail: problem }));
  return problem;
}

function tagOf(response) {
  return (response.headers.get("etag") || "").replace(/^W\//, "").replaceAll('"', "");
}

/** GET JSON. */
export function get(path) {
  return ask("GET", path, (response) => response.json());
}

/** GET JSON or text, with the digest that a write made from it must name: `{body, digest}`. */
export function read(path, { accept = "application/json" } = {}) {
  return ask("GET", path, async (response) => ({ body: accept === "text/plain" ? await response.text() : await response.json(), digest: tagOf(response) }), { accept });
}

/** A write. `body` is sent as JSON, or `text` as plain text; `digest` is what it was made from; `dryRun` checks and writes nothing. */
export function write(method, path, { body, text, digest, dryRun = false, query = {} } = {}) {
  const parameters = new URLSearchParams(query);
  if (dryRun) parameters.set("dry_run", "true");
  const search = parameters.size ? `?${parameters}` : "";
  return ask(method, path + search, async (response) => ({ body: await response.json(), digest: tagOf(response) }), { body, text, digest });
}

/** The body of an answer that goes on, as a stream of bytes; `signal` ends it. */
export async function stream(path, { headers, signal }) {
  let response;
  try {
    response = await fetch(path, { ...FETCH, headers: { Accept: "text/event-stream", ...headers }, signal });
  } catch (fault) {
    throw fault instanceof Problem ? fault : unanswered(path);
  }
  if (!response.ok) throw await problemOf(path, response);
  return response.body;
}

/** Trade a one-time link for a session. */
export async function logIn(link) {
  await ask("POST", "/login", () => null, { body: { link } });
}

/** End the session. */
export async function logOut() {
  await ask("POST", "/logout", () => null);
}

/** One segment of a path. */
export const segment = encodeURIComponent;
