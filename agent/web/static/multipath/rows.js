// The matrix as the page holds it: brief rows by key, brought up to date by what changed since the version that is held.

import { get } from "../api.js";
import { serially, Store } from "../live.js";
import { early } from "./early.js";

const MOST_MARKS = 100;
const KINDS = new Set(["multipath.map", "nvme.subsystem"]);

/** What a cell says: `usable` and `expected` may be null, `last` is what was known before a cell that is not known now. */
function cellOf([state, usable, expected, reasons = [], last = null, flags = []]) {
  return { state, usable, expected, reasons, last, flags };
}

function rowOf(brief) {
  const array = [brief.vendor, brief.product].filter(Boolean).join(" ");
  const storages = [...new Set(brief.storages ?? [])];
  // A map and not an object: a node may be named as something that every object has.
  const cells = new Map(Object.entries(brief.cells).map(([node, cell]) => [node, cellOf(cell)]));
  return {
    // All that a row says beside its states, to see at once whether any of it is another.
    about: JSON.stringify([brief.alias, array, brief.size_bytes, brief.configured, storages]),
    key: `${brief.kind} ${brief.id}`,
    kind: brief.kind,
    id: brief.id,
    alias: brief.alias ?? "",
    name: brief.alias || brief.id,
    array,
    size: brief.size_bytes ?? null,
    configured: brief.configured !== false,
    storages,
    expected: brief.expected_nodes ?? [],
    state: brief.state,
    since: brief.since,
    cells,
    // What was remarkable of a node that is not heard is no more than its cell's last known state.
    flags: [...new Set([...cells.values()].filter(({ last }) => last === null).flatMap(({ flags }) => flags))],
  };
}

let marks = 0;

/** The first of the marks for measurements. A page is open for weeks: from time to time all go. */
function received(version) {
  marks = (marks + 1) % MOST_MARKS;
  if (marks === 0) {
    performance.clearMarks();
    performance.clearMeasures();
  }
  performance.mark("matrix-received", { detail: version });
}

/** The rows by key. Emits `changed` as any store, `nodes` when the nodes or what they are worth changed, `loaded` after the first answer. */
export class Matrix extends Store {
  version = null;
  loaded = false;
  /** How far each node's word goes: `{state, age_seconds}` by name. */
  nodes = new Map();
  #live;

  constructor(live, failed) {
    super();
    this.#live = live;
    this.load = serially(() => this.#load(), failed);
    // The stream tells the version whenever it begins, also after a connection was lost.
    live.on("matrix", ({ version }) => version !== this.version && this.load());
  }

  async #load() {
    const since = this.version === null ? "" : `&changed_since=${this.version}`;
    const first = early();
    const answer = (first && (await first)) ?? (await get(`/v1/matrix?brief=true${since}`));
    received(answer.version);
    const rows = answer.resources.filter((brief) => KINDS.has(brief.kind)).map(rowOf);
    if (since === "" || answer.whole) {
      this.replace(rows.map((row) => [row.key, row]));
    } else {
      for (const row of rows) this.set(row.key, row);
      for (const { kind, id } of answer.gone) this.delete(`${kind} ${id}`);
    }
    this.version = answer.version;
    this.#note(new Map(Object.entries(answer.reporters)));
    if (!this.loaded) {
      this.loaded = true;
      this.emit("loaded");
      // What was told before anybody listened is not told again.
      const told = this.#live.matrixVersion ?? answer.version;
      if (told !== answer.version) this.load();
    }
  }

  #note(nodes) {
    const said = (all) => JSON.stringify([...all].map(([name, { state }]) => [name, state]));
    const moved = said(nodes) !== said(this.nodes);
    this.nodes = nodes;
    if (moved) this.emit("nodes");
  }
}
