// Reading, one at a time and until it succeeds: whatever a view holds of the agent comes through a loader, and the page knows which are behind.

import { noting, Problem } from "./api.js";
import { t } from "./strings.js";

const FIRST_RETRY_MS = 500;
const MOST_RETRY_MS = 5000;
/** What a loader may need for a second try before the page says that what it shows may be old. */
const GRACE_MS = 2000;
/** And what a single try may take before it says so, though it may still succeed. */
const READING_MS = 3000;
/** Of all that the client is to blame for, what asking again may change: there is a session again, or the agent has time. */
const PASSING = new Set([401, 408, 429]);

/** Whether it is an answer about what was asked for, which asking again would not change. */
const isRefusal = ({ status }) => status >= 400 && status < 500 && !PASSING.has(status);

/** The loaders that read now, those whose last read failed, and what the page wants to know of them. */
class Loaders {
  #failing = new Set();
  #running = new Set();
  /** Called when one is behind no more. */
  changed = () => {};
  /** Called with what a loader was refused once it reads again. */
  recovered = () => {};
  /** Whether there is no sense in asking now: nobody sees the page, or it has no agent or no session. */
  resting = () => document.hidden;

  /** Whether something is being read. */
  get busy() {
    return this.#running.size > 0;
  }

  /** Those that are behind: `{since, fault}`, `since` when they read last, null for never; `fault` has a `message`, a `hint` and a `path`. */
  behind() {
    const now = Date.now();
    const failing = [...this.#failing].filter(({ failingFrom }) => now - failingFrom >= GRACE_MS);
    const reading = [...this.#running].filter((loader) => !this.#failing.has(loader) && now - loader.begun >= READING_MS);
    return [...failing, ...reading].filter((loader) => loader.wanted())
      .map(({ readAt, fault, path }) => ({ since: readAt, fault: fault ?? { message: t("stale.reading"), hint: "", path } }));
  }

  /** Try again now. */
  retry() {
    for (const loader of this.#failing) if (!this.#running.has(loader) && loader.wanted()) loader.ask();
  }

  runs(loader, now) {
    if (now) this.#running.add(loader);
    else this.#running.delete(loader);
  }

  fails(loader, now) {
    if (now) this.#failing.add(loader);
    else if (this.#failing.delete(loader)) this.changed();
  }
}

export const loaders = new Loaders();

class Loader {
  wanted;
  /** Why what was wanted is not there, while it is not: a problem, or what is like one. */
  fault = null;
  /** When the first of the tries began that failed, while they do. */
  failingFrom = 0;
  /** When the last try began. */
  begun = 0;
  readAt = null;
  /** What is read, as far as that is known. */
  path = "";
  #load;
  #refused;
  #refusal = null;
  /** The fault of the page that was reported: it comes with each try. */
  #reported = null;
  #running = null;
  #again = false;
  #timer = 0;
  #wait = FIRST_RETRY_MS;

  constructor(load, refused, wanted) {
    this.#load = load;
    this.#refused = refused;
    this.wanted = wanted;
  }

  ask() {
    if (this.#running) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#run();
    return this.#running;
  }

  async #run() {
    try {
      do {
        this.#again = false;
        await this.#try();
      } while (this.#again);
    } finally {
      this.#running = null;
    }
  }

  async #try() {
    clearTimeout(this.#timer);
    this.begun = Date.now();
    loaders.runs(this, true);
    let fault = null;
    try {
      const { given, path } = noting(this.#load);
      if (path) this.path = path;
      await given;
      this.readAt = new Date();
    } catch (thrown) {
      fault = thrown;
    }
    loaders.runs(this, false);
    if (fault === null || (fault instanceof Problem && isRefusal(fault))) this.#answered(fault);
    else this.#failed(fault);
    if (Date.now() - this.begun >= READING_MS) loaders.changed();
  }

  /** There was no answer, or one with which the page could not do what it should: what is shown is from before. */
  #failed(fault) {
    if (this.fault === null) this.failingFrom = this.begun;
    if (fault instanceof Problem) {
      this.fault = fault;
    } else {
      if (String(fault) !== this.#reported) reportError(fault);
      this.#reported = String(fault);
      this.fault = { message: t("stale.fault"), hint: t("stale.fault-hint"), path: this.path };
      this.#wait = MOST_RETRY_MS;
    }
    loaders.fails(this, true);
    this.#later();
  }

  /** There was an answer, if not what was wanted. */
  #answered(refusal) {
    this.#forget();
    if (this.#refusal !== null && this.#refusal.message !== refusal?.message) loaders.recovered(this.#refusal);
    this.#refusal = refusal;
    if (refusal === null) return;
    try {
      this.#refused(refusal);
    } catch (unexpected) {
      reportError(unexpected);
    }
  }

  #later() {
    this.#timer = setTimeout(() => {
      if (!this.wanted()) this.#forget();
      else if (loaders.resting()) this.#later();
      else this.ask();
    }, this.#wait);
    this.#wait = Math.min(2 * this.#wait, MOST_RETRY_MS);
  }

  #forget() {
    this.fault = null;
    this.#reported = null;
    this.#wait = FIRST_RETRY_MS;
    loaders.fails(this, false);
  }
}

/**
 * Calls `load` one at a time: asked again while it runs, it runs once more afterwards. What fails for want of an answer is tried again until
 * it succeeds, as long as it is `wanted`, and so is what the page itself fails at; that it is behind, or takes long, the page tells. What the
 * agent refuses is given to `refused`.
 */
export function serially(load, refused = () => {}, wanted = () => true) {
  const loader = new Loader(load, refused, wanted);
  return () => loader.ask();
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
