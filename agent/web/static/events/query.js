// Which events are shown: pure functions of events and of the parameters in the address.

/** The kinds of events by what they are about. */
export const GROUPS = {
  paths: ["lun", "cell", "cells", "path-lost", "path-back", "paths-expected"],
  configuration: ["edit", "late-edit", "conflict-opened", "conflict-resolved", "apply"],
  nodes: ["node", "node-flapping", "member-joined", "member-left", "member-retired"],
  agent: ["alarm", "agent-started", "agent-stopped", "snapshot-taken", "log-collected", "more"],
};

/** What the address asks for. A group of kinds stands for all of its kinds. */
export function parseQuery({ kind = "", node = "", object = "", q = "" }) {
  return { kind, node, object, text: q };
}

/** The same as parameters of an address. */
export const formatQuery = ({ kind, node, object, text }) => ({ kind, node, object, q: text });

/** Whether a query leaves anything out. */
export const filters = ({ kind, node, object, text }) => Boolean(kind || node || object.trim() || text.trim());

/** The node that an event is about or comes from; empty if none. */
export const nodeOf = ({ node, author }) => node ?? author ?? "";

/** What an event is about beside a node: `{type, id}`, types `lun`, `key` and `edit`. */
export function objectsOf(event) {
  const found = new Map();
  const add = (type, id) => typeof id === "string" && id && found.set(`${type} ${id}`, { type, id });
  add("lun", event.wwid);
  if (event.resource_kind === "multipath.map" || event.resource_kind === "nvme.subsystem") add("lun", event.id);
  else add("key", event.id);
  add("key", event.key);
  for (const key of event.keys ?? []) add("key", key);
  add("edit", event.edit);
  for (const edit of event.edits ?? []) add("edit", edit);
  return [...found.values()];
}

/** The test whether an event fits. `nameOf` gives a LUN's name, `wordsOf` what is shown. Every word of the text must be found somewhere. */
export function fits({ kind, node, object, text }, nameOf, wordsOf) {
  const kinds = kind && new Set(Object.hasOwn(GROUPS, kind) ? GROUPS[kind] : [kind]);
  const wanted = object.trim().toLowerCase();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (event) => {
    if (kinds && !kinds.has(event.kind) && !(event.kind === "more" && kinds.has(event.of))) return false;
    if (node && event.node !== node && event.author !== node) return false;
    if (wanted && !objectsOf(event).some(({ type, id }) => names(type, id, nameOf).some((name) => name.includes(wanted)))) return false;
    if (!words.length) return true;
    const hay = [event.kind, event.message, wordsOf(event), nodeOf(event)].join("\n").toLowerCase();
    return words.every((word) => hay.includes(word));
  };
}

/** The names of an object, in lower case: a key of a LUN is found by the LUN's alias too. */
function names(type, id, nameOf) {
  const wwid = type === "lun" ? id : id.startsWith("wwid/") ? id.slice("wwid/".length) : null;
  return [id, ...(wwid === null ? [] : [nameOf(wwid)])].map((name) => name.toLowerCase());
}

/** The state whose look an event has. */
export function lookOf({ kind, after, states, flapping }) {
  if (kind === "cells") return Object.keys(states ?? {})[0] ?? "unknown";
  return { "path-lost": "lost", "path-back": "healthy", "conflict-opened": "degraded", "late-edit": "degraded", alarm: "failed", more: "unknown",
    "node-flapping": flapping ? "suspect" : "online", "member-left": "left", "member-retired": "retired", "member-joined": "online" }[kind]
    ?? (["cell", "lun", "apply", "node"].includes(kind) ? after : null) ?? "none";
}
