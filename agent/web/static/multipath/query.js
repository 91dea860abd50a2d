// Which rows are shown and in which order: pure functions of rows and of the parameters in the address.

import { compare, compareLuns } from "../strings.js";
import { gravityOf } from "./cells.js";

/** The states of a LUN, worst first. */
export const STATES = ["failed", "partial", "degraded", "unknown", "pending", "healthy", "unused"];
/** The states of a cell, worst first. */
export const CELL_STATES = ["failed", "missing", "degraded", "unknown", "pending", "unexpected", "healthy", "absent"];
const RANK = new Map(STATES.map((state, rank) => [state, rank]));
const CELL_RANK = new Map(CELL_STATES.map((state, rank) => [state, rank]));
const NO_CELL = CELL_STATES.length;

const rankOf = (state) => RANK.get(state) ?? RANK.get("unknown");

/** How urgent a row is: 0 is the most. What puts data at risk goes before all, what is to be looked at before what is not. */
function urgency({ state, flags }) {
  const gravity = gravityOf(flags);
  return gravity === "grave" ? 0 : 2 * rankOf(state) + (gravity ? 1 : 2);
}

/** How severe a cell's state is: 0 is the worst. */
export const cellRank = (state) => CELL_RANK.get(state) ?? CELL_RANK.get("unknown");

/** What the address asks for. */
export function parseQuery(parameters) {
  const sort = parameters.sort ?? "";
  return {
    states: new Set((parameters.state ?? "").split(",").filter((state) => RANK.has(state))),
    storage: parameters.storage ?? "",
    array: parameters.array ?? "",
    text: parameters.q ?? "",
    sort: sort.replace(/^-/, "") || "state",
    down: sort.startsWith("-"),
  };
}

/** The same as parameters of an address; what is usual is left out. */
export function formatQuery({ states, storage, array, text, sort, down }) {
  return {
    state: STATES.filter((state) => states.has(state)).join(","),
    storage,
    array,
    q: text,
    sort: sort === "state" && !down ? "" : `${down ? "-" : ""}${sort}`,
  };
}

/** Whether a query leaves anything out. */
export const filters = ({ states, storage, array, text }) => states.size > 0 || Boolean(storage || array || text.trim());

/** The test whether a row fits; `states` are left aside if `anyState`. Every word must be found somewhere. */
export function fits({ states, storage, array, text }, { anyState = false } = {}) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (row) => {
    if (!anyState && states.size && !states.has(RANK.has(row.state) ? row.state : "unknown")) return false;
    if (storage && !row.storages.includes(storage)) return false;
    if (array && row.array !== array) return false;
    if (!words.length) return true;
    const hay = [row.id, row.alias, row.array, ...row.storages, ...row.cells.keys()].join("\n").toLowerCase();
    return words.every((word) => hay.includes(word));
  };
}

/** The place of each row by name, worked out once for as long as no name changes: comparing words is what sorting costs. */
export function nameRanks(rows) {
  const sorted = [...rows].sort((a, b) => compareLuns([a.alias, a.id], [b.alias, b.id]) || (a.key < b.key ? -1 : 1));
  return new Map(sorted.map((row, rank) => [row.key, rank]));
}

/** How two rows compare. Whatever is asked for, what is more urgent and then the name decide between equals. */
export function ordering({ sort, down }, ranks) {
  const by = {
    state: () => 0,
    name: (a, b) => ranks.get(a.key) - ranks.get(b.key),
    array: (a, b) => compare(a.array, b.array),
    size: (a, b) => (a.size ?? -1) - (b.size ?? -1),
    storages: (a, b) => compare(a.storages.join(" "), b.storages.join(" ")),
  };
  const node = sort.startsWith("node:") ? sort.slice(5) : null;
  const cell = (row) => {
    const found = row.cells.get(node);
    return found ? cellRank(found.state) : NO_CELL;
  };
  const first = node !== null ? (a, b) => cell(a) - cell(b) : Object.hasOwn(by, sort) ? by[sort] : by.state;
  const state = (a, b) => urgency(a) - urgency(b);
  const primary = first === by.state ? state : first;
  const sign = down ? -1 : 1;
  return (a, b) => sign * primary(a, b) || state(a, b) || ranks.get(a.key) - ranks.get(b.key);
}

/** How many rows are in each state. */
export function countStates(rows) {
  const counts = new Map(STATES.map((state) => [state, 0]));
  for (const row of rows) {
    const state = RANK.has(row.state) ? row.state : "unknown";
    counts.set(state, counts.get(state) + 1);
  }
  return counts;
}

/**
 * The order to show when nothing may jump: rows that are shown stay where they are, new ones come where they belong, those that no longer
 * fit go. `stale` says that the rows that stayed would be ordered otherwise now.
 */
export function gentleOrder(shown, sorted) {
  const wanted = new Set(sorted);
  const stayed = shown.filter((key) => wanted.has(key));
  const held = new Set(stayed);
  const after = new Map();
  let last = null;
  for (const key of sorted) {
    if (held.has(key)) last = key;
    else after.set(last, [...(after.get(last) ?? []), key]);
  }
  const order = [...(after.get(null) ?? [])];
  for (const key of stayed) order.push(key, ...(after.get(key) ?? []));
  const kept = sorted.filter((key) => held.has(key));
  return { order, stale: kept.some((key, index) => key !== stayed[index]) };
}
