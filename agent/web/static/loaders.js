// Reading, one at a time and until it succeeds: whatever a view holds of the agent comes through a loader, and the page knows which are behind.

import { Problem } from "./api.js";

const FIRST_RETRY_MS = 500;
const MOST_RETRY_MS = 5000;
/** What a loader may need for a second try before the page says that what it shows may be old. */
const GRACE_MS = 2000;
/** Answers about what was asked for, which asking again would not change. */
const REFUSALS = new Set([400, 404, 409, 410, 412, 422]);

/** The loaders whose last read failed, and what the page wants to know of them. */
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

  /** Those that are behind: `{since, fault}`, `since` when they read last, null for never. */
  behind() {
    const late = Date.now() - GRACE_MS;
    return [...this.#failing].filter((loader) => loader.begun <= late && loader.wanted()).map(({ readAt, fault }) => ({ since: readAt, fault }));
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
  /** Why there is no answer, while there is none. */
  fault = null;
  /** When the first of the tries began to which there was none. */
  begun = 0;
  readAt = null;
  #load;
  #refused;
  #refusal = null;
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
    loaders.runs(this, true);
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
      loaders.runs(this, false);
    }
  }

  async #try() {
    const begun = Date.now();
    clearTimeout(this.#timer);
    try {
      await this.#load();
      this.readAt = new Date();
      this.#answered(null);
    } catch (fault) {
      if (fault instanceof Problem && !REFUSALS.has(fault.status)) {
        if (this.fault === null) this.begun = begun;
        this.fault = fault;
        loaders.fails(this, true);
        this.#later();
      } else {
        this.#answered(fault);
      }
    }
  }

  /** There was an answer, if not what was wanted. A fault that is none of the agent's is one of the page: it is reported, and all goes on. */
  #answered(fault) {
    this.fault = null;
    this.#wait = FIRST_RETRY_MS;
    loaders.fails(this, false);
    if (this.#refusal !== null && this.#refusal.message !== fault?.message) loaders.recovered(this.#refusal);
    this.#refusal = fault instanceof Problem ? fault : null;
    if (fault === null) return;
    try {
      if (this.#refusal === null) throw fault;
      this.#refused(fault);
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
    this.#wait = FIRST_RETRY_MS;
    loaders.fails(this, false);
  }
}

/**
 * Calls `load` one at a time: asked again while it runs, it runs once more afterwards. What fails for want of an answer is tried again until
 * it succeeds, as long as it is `wanted`; that it is behind, the page tells. What the agent refuses is given to `refused`.
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
