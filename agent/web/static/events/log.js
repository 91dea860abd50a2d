// The events that the page holds, by cursor: the newest first of all, the rest of what the agent keeps when it is asked for, and what comes.

import { get } from "../api.js";
import { serially, Store } from "../live.js";

const FIRST = 500;
const PAGE = 1000;
/** More than an agent keeps. */
const MOST = 12_000;

/** Emits `changed` as any store, once a frame at most, and `read` when the newest were read. */
export class EventLog extends Store {
  /** Whether all that the agent still keeps is here. */
  whole = false;
  loaded = false;
  reading = false;
  /** From here on up everything is held. */
  #from = Infinity;

  constructor(live, failed) {
    super();
    this.load = serially(() => this.#newestOnes(), failed);
    this.loadAll = serially(() => this.#all(), failed);
    live.on("event", (event) => this.#take(event));
  }

  /** The events, newest first. */
  list() {
    return [...this.values()].sort((a, b) => b.cursor - a.cursor);
  }

  #take(event) {
    if (!Number.isSafeInteger(event.cursor)) return;
    this.set(event.cursor, event);
    if (this.size > MOST) {
      const oldest = [...this.keys()].sort((a, b) => a - b).slice(0, MOST / 10);
      for (const cursor of oldest) this.delete(cursor);
      this.#from = oldest.at(-1) + 1;
      this.whole = false;
    }
  }

  /** Read the newest. What is held stays if the newest follow it without a gap; else something was missed, and the list begins anew. */
  async #newestOnes() {
    const { events } = await get(`/v1/events?limit=${FIRST}`);
    const first = events[0]?.cursor ?? 0;
    if (first > this.#from && this.get(first - 1) === undefined) this.forget(first);
    this.#from = Math.min(this.#from, first);
    this.whole ||= events.length < FIRST;
    this.loaded = true;
    for (const event of events) this.#take(event);
    this.replace(this.#entries());
    this.emit("read");
  }

  /** Begin anew, but for what has just come: events below `first` go. */
  forget(first = Infinity) {
    this.replace(this.#entries().filter(([cursor]) => cursor >= first));
    this.#from = Infinity;
    this.whole = false;
  }

  /** Everything that is kept, from the oldest on up to where everything is here already; held once there is no gap between the two. */
  async #all() {
    if (this.whole) return;
    this.reading = true;
    this.emit("changed", null);
    const older = [];
    try {
      for (let since = 0; ; ) {
        const { events, next } = await get(`/v1/events?since=${since}&limit=${PAGE}`);
        older.push(...events);
        if (!events.length || next >= this.#from - 1 || next <= since) break;
        since = next;
      }
      this.whole = true;
      for (const event of older) this.#take(event);
    } finally {
      this.reading = false;
      this.replace(this.#entries());
    }
  }

  #entries() {
    return [...this.values()].map((event) => [event.cursor, event]);
  }
}
