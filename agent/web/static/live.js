// What the agent tells as it happens: one stream of events, taken up again where it ended, and keyed stores that views follow.

import { get, Problem, stream, UNREACHABLE } from "./api.js";
import { loaders, serially } from "./loaders.js";
import { t } from "./strings.js";

export { paced, serially } from "./loaders.js";

const FIRST_RETRY_MS = 250;
const MOST_RETRY_MS = 3000;
const SILENCE_MS = 12_000; // the agent says something at least every 5 seconds
const WATCH_MS = 1000;
const LIVE = "live", CONNECTING = "connecting", STALE = "stale", LOGGED_OUT = "logged-out";

/** Listeners by name. */
export class Emitter {
  #listeners = new Map();

  /** Call `listener` whenever `name` happens; what is returned ends that. */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => all.delete(listener);
  }

  /** Tell all of them: what one of them cannot do keeps nothing from the others, nor from who tells. */
  emit(name, value) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (fault) {
        reportError(fault);
      }
    }
  }
}

/** Splits a stream of server-sent events (HTML standard, 9.2.6) into `{event, id, data}`; comments are `null`. */
export class EventParser {
  #rest = "";
  #event = "";
  #data = [];
  #id;

  *feed(chunk) {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop();
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.#data.length) yield { event: this.#event || "message", id: this.#id, data: this.#data.join("\n") };
        this.#event = "";
        this.#data = [];
        this.#id = undefined;
      } else if (line.startsWith(":")) {
        yield null;
      } else {
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "event") this.#event = value;
        else if (field === "data") this.#data.push(value);
        else if (field === "id") this.#id = value;
      }
    }
  }
}

/** One of them is never set back, the other one goes on while the computer sleeps. */
const bothClocks = () => [performance.now(), Date.now()];
/** Why a stream ends that nobody needs while nobody sees the page. */
const UNSEEN = new Error("nobody sees the page");

/**
 * The one stream of the page, and whether what the page shows is what the agent says now. Emits `event` with each event of the agent, the
 * event's kind with it, `matrix` with the matrix's version, `gap` when events were missed, `state` when the page is as current as it was no
 * more, and `resumed` when the connection is back: then whatever a view holds may be old. A page that nobody sees gives its connection to
 * those that are seen, for a browser has six for each address.
 */
export class Live extends Emitter {
  cursor = null;
  /** Why there is no connection. */
  fault = null;
  /** The loaders that are behind while there is a connection: `{since, fault}`. */
  behind = [];
  /** The version of the matrix that was told last, null if none was. */
  matrixVersion = null;
  #connection = CONNECTING;
  #heardAt = null;
  #quietFrom = bothClocks();
  #lostAt = null;
  #told = "";
  #controller = null;
  #wake = null;
  #missed = true;

  /** `live`, `connecting`, `stale` (also if something of what is shown could not be read) or `logged-out`. */
  get state() {
    return this.#connection === LIVE && this.behind.length ? STALE : this.#connection;
  }

  /** Whether the agent can be asked, however much of what is shown is behind. */
  get connected() {
    return this.#connection === LIVE;
  }

  /** When what is shown was last known to be current, null while it is or if it never was. */
  get since() {
    if (this.#connection !== LIVE) return this.#lostAt;
    return this.behind.map(({ since }) => since).filter((since) => since !== null).sort((a, b) => a - b)[0] ?? null;
  }

  start() {
    loaders.resting = () => document.hidden || (this.#connection !== LIVE && [0, 401].includes(this.fault?.status));
    loaders.changed = () => this.#tell();
    this.#run();
    setInterval(() => this.#watch(), WATCH_MS);
    document.addEventListener("visibilitychange", () => this.#look());
    addEventListener("online", () => this.retry());
    addEventListener("pathmesh:no-session", ({ detail }) => this.#controller?.abort(detail));
  }

  /** Try again now. */
  retry() {
    this.#wake?.();
  }

  #look() {
    if (document.hidden) {
      this.#controller?.abort(UNSEEN);
      return;
    }
    // What is shown is from when the page was hidden.
    if (this.#connection === LIVE) this.#become(CONNECTING);
    this.retry();
  }

  /** A stream that says nothing for so long is none. */
  #watch() {
    if (bothClocks().some((now, index) => now - this.#quietFrom[index] > SILENCE_MS)) {
      this.#controller?.abort(new Problem(0, { code: UNREACHABLE, detail: t("api.silent") }));
    }
    this.#tell();
  }

  async #run() {
    let wait = FIRST_RETRY_MS;
    for (;;) {
      if (document.hidden) {
        await this.#pause(null);
        continue;
      }
      let fault = null;
      try {
        await this.#follow(() => {
          wait = FIRST_RETRY_MS;
        });
      } catch (thrown) {
        fault = thrown;
      }
      if (this.cursor === null) this.#missed = true;
      if (document.hidden || fault === UNSEEN) continue;
      if (fault === null) {
        this.#become(CONNECTING);
        await this.#pause(wait); // an agent that stops ends its streams, and one that ends each at once is not to be asked without a pause
        continue;
      }
      this.fault = fault;
      this.#missed = true;
      this.#become(fault.status === 401 ? LOGGED_OUT : STALE);
      await this.#pause(wait);
      wait = Math.min(2 * wait, MOST_RETRY_MS);
    }
  }

  async #follow(connected) {
    const controller = (this.#controller = new AbortController());
    const headers = this.cursor === null ? {} : { "Last-Event-ID": this.cursor };
    this.#quietFrom = bothClocks();
    try {
      const reader = (await stream("/v1/events?matrix=true", { headers, signal: controller.signal })).getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      connected();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.#heardAt = new Date();
        this.#quietFrom = bothClocks();
        this.#become(LIVE);
        for (const event of parser.feed(decoder.decode(value, { stream: true }))) if (event !== null) this.#take(event);
      }
    } catch (fault) {
      if (controller.signal.aborted) throw controller.signal.reason;
      throw fault instanceof Problem ? fault : new Problem(0, { code: UNREACHABLE, detail: t("api.unreachable") });
    } finally {
      this.#controller = null;
    }
  }

  #take({ event, id, data }) {
    let body;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    if (id !== undefined) this.cursor = id;
    if (event === "matrix") this.matrixVersion = body.version;
    this.emit(event, body);
    if (event !== "matrix" && event !== "gap") this.emit("event", body);
  }

  #become(connection) {
    const before = this.#connection;
    this.#connection = connection;
    if (connection === LIVE) this.#lostAt = this.fault = null;
    else if (connection !== CONNECTING || this.#heardAt !== null) this.#lostAt ??= this.#heardAt ?? new Date();
    this.#tell();
    if (connection !== LIVE) return;
    if (this.#missed) {
      this.#missed = false;
      this.emit("resumed");
    }
    if (before !== LIVE) loaders.retry();
  }

  #tell() {
    this.behind = this.#connection === LIVE ? loaders.behind() : [];
    const now = JSON.stringify([this.state, this.fault?.message, this.behind.map(({ since, fault }) => [since, fault.path, fault.message])]);
    if (now === this.#told) return;
    this.#told = now;
    this.emit("state", this.state);
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (milliseconds !== null) setTimeout(resolve, milliseconds);
    });
  }
}

/** Values by key. `changed` is emitted once a frame at most, with the keys that came, changed or went, or null for all. */
export class Store extends Emitter {
  #values = new Map();
  #changed = new Set();
  #all = false;
  #asked = false;

  get size() {
    return this.#values.size;
  }

  get(key) {
    return this.#values.get(key);
  }

  keys() {
    return this.#values.keys();
  }

  values() {
    return this.#values.values();
  }

  set(key, value) {
    this.#values.set(key, value);
    this.#note(key);
  }

  delete(key) {
    if (this.#values.delete(key)) this.#note(key);
  }

  /** Hold exactly these. */
  replace(entries) {
    this.#values = new Map(entries);
    this.#all = true;
    this.#ask();
  }

  #note(key) {
    this.#changed.add(key);
    this.#ask();
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    // A page in the background has no frames, and must not gather changes for ever.
    if (document.hidden) setTimeout(() => this.#tell());
    else requestAnimationFrame(() => this.#tell());
  }

  #tell() {
    const changed = this.#all ? null : this.#changed;
    this.#changed = new Set();
    this.#all = false;
    this.#asked = false;
    this.emit("changed", changed);
  }
}

/** A document of the agent that is read anew whenever one of these kinds of events comes, or the connection was lost: `{value, ask}`. */
export class Document extends Emitter {
  value = null;

  constructor(live, path, kinds) {
    super();
    this.ask = serially(
      async () => {
        this.value = await get(path);
        this.emit("changed", this.value);
      },
      (fault) => this.emit("failed", fault),
    );
    for (const kind of [...kinds, "resumed", "gap"]) live.on(kind, this.ask);
  }
}
