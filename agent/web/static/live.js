// What the agent tells as it happens: one stream of events, taken up again where it ended, and keyed stores that views follow.

import { get, Problem, stream } from "./api.js";

const FIRST_RETRY_MS = 250;
const MOST_RETRY_MS = 3000;
const SILENCE_MS = 40_000; // the agent says something at least every 15 seconds
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

  emit(name, value) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(value);
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

/**
 * The one stream of the page. Emits `event` with each event of the agent, the event's kind with it, `matrix` with the matrix's version,
 * `gap` when events were missed, `state` when the connection is another one, and `resumed` when it is back: then whatever a view holds may
 * be old. A page that nobody sees gives its connection to those that are seen, for a browser has six for each address.
 */
export class Live extends Emitter {
  state = CONNECTING;
  since = null;
  heardAt = null;
  cursor = null;
  fault = null;
  #controller = null;
  #wake = null;
  #missed = true;

  start() {
    this.#run();
    document.addEventListener("visibilitychange", () => this.#look());
    addEventListener("online", () => this.retry());
  }

  /** Try again now. */
  retry() {
    this.#wake?.();
  }

  #look() {
    if (document.hidden) this.#controller?.abort();
    else this.retry();
  }

  async #run() {
    let wait = FIRST_RETRY_MS;
    for (;;) {
      if (document.hidden) {
        await this.#pause(null);
        continue;
      }
      try {
        await this.#follow(() => {
          wait = FIRST_RETRY_MS;
        });
        if (this.cursor === null) this.#missed = true;
        if (document.hidden) continue;
        this.#become(CONNECTING);
        await this.#pause(wait); // an agent that stops ends its streams, and one that ends each at once is not to be asked without a pause
      } catch (fault) {
        if (this.cursor === null) this.#missed = true;
        if (document.hidden) continue;
        this.fault = fault;
        this.#missed = true;
        this.#become(fault instanceof Problem && fault.status === 401 ? LOGGED_OUT : STALE);
        await this.#pause(wait);
        wait = Math.min(2 * wait, MOST_RETRY_MS);
      }
    }
  }

  async #follow(connected) {
    const controller = (this.#controller = new AbortController());
    const headers = this.cursor === null ? {} : { "Last-Event-ID": this.cursor };
    let timer = setTimeout(() => controller.abort(), SILENCE_MS);
    try {
      const reader = (await stream("/v1/events?matrix=true", { headers, signal: controller.signal })).getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      connected();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => controller.abort(), SILENCE_MS);
        this.heardAt = new Date();
        this.#become(LIVE);
        for (const event of parser.feed(decoder.decode(value, { stream: true }))) if (event !== null) this.#take(event);
      }
    } finally {
      clearTimeout(timer);
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
    this.emit(event, body);
    if (event !== "matrix" && event !== "gap") this.emit("event", body);
  }

  #become(state) {
    if (state === STALE || state === LOGGED_OUT) this.since ??= this.heardAt ?? new Date();
    if (state === LIVE) this.since = this.fault = null;
    if (state !== this.state) {
      this.state = state;
      this.emit("state", state);
    }
    if (state === LIVE && this.#missed) {
      this.#missed = false;
      this.emit("resumed");
    }
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

/** Calls `load` one at a time: asked again while it runs, it runs once more afterwards. A fault is given to `failed`. */
export function serially(load, failed = () => {}) {
  let running = null;
  let again = false;
  return function ask() {
    if (running) {
      again = true;
      return running;
    }
    running = (async () => {
      do {
        again = false;
        try {
          await load();
        } catch (fault) {
          failed(fault);
        }
      } while (again);
      running = null;
    })();
    return running;
  };
}

/** Calls `ask` when it is called, but leaves so much time between two calls; whoever calls meanwhile is served by the next. */
export function paced(ask, milliseconds) {
  let last = -Infinity;
  let timer = 0;
  return function soon() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      last = performance.now();
      ask();
    }, Math.max(0, last + milliseconds - performance.now()));
  };
}

/** A document of the agent that is read anew whenever one of these kinds of events comes, or the connection was lost: `{value, ask}`. */
export class Document extends Emitter {
  value = null;
  fault = null;

  constructor(live, path, kinds) {
    super();
    this.ask = serially(
      async () => {
        this.value = await get(path);
        this.fault = null;
        this.emit("changed", this.value);
      },
      (fault) => {
        this.fault = fault;
        this.emit("failed", fault);
      },
    );
    for (const kind of [...kinds, "resumed", "gap"]) live.on(kind, this.ask);
  }
}
