// Paths as lines: where each leads, what it is worth, and what is odd about it.

import { attr, h, named, text } from "../dom.js";
import { compare, t, tOr } from "../strings.js";

/** What a path says of itself as long as all is well. */
const QUIET = { chk: new Set(["ready", "ghost", "up"]), dm: new Set(["active"]), dev_state: new Set(["running", "live"]), state: new Set(["live"]) };

/** The two ends of a path by its identity: `transport:port>target`. What has no such form is all target. */
export function endsOf(id) {
  const colon = id.indexOf(":");
  const arrow = id.indexOf(">");
  if (colon < 0 || arrow < colon) return { transport: "", port: "", target: id };
  return { transport: id.slice(0, colon), port: id.slice(colon + 1, arrow), target: id.slice(arrow + 1) };
}

/** A path in a line, where its port is not said above it. */
export function pathName(id) {
  const { transport, port, target } = endsOf(String(id ?? ""));
  return port ? `${transport} ${port} → ${target}` : target;
}

/** Whether what a cell tells is what holds now; else it is what was known last. */
export const isKnown = ({ state }) => state !== "unknown";

/** A node's paths by port, lost ones among them. */
export function portsOf(cell) {
  const known = isKnown(cell);
  const groups = cell.path_groups ?? [];
  const there = groups.flatMap(({ group, paths }) => paths.map((path) => ({ ...path, group: groups.length > 1 ? group : null })));
  const ids = new Set(there.map(({ id }) => id));
  const lost = (cell.missing_paths ?? []).filter((id) => !ids.has(id)).map((id) => ({ id, class: "lost" }));
  const ports = new Map();
  for (const path of [...there, ...lost]) {
    const ends = endsOf(String(path.id ?? ""));
    const key = `${ends.transport}:${ends.port}`;
    if (!ports.has(key)) ports.set(key, { key, ...ends, paths: [] });
    ports.get(key).paths.push({ ...path, known, target: ends.target });
  }
  for (const port of ports.values()) port.paths.sort((a, b) => compare(a.target, b.target));
  return [...ports.values()].sort((a, b) => compare(a.key, b.key));
}

export function pathLine() {
  return h("li", { class: "path" }, h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), h("span")),
    named("", { class: "target mono" }), h("span", { class: "dev mono" }), h("span", { class: "muted more" }));
}

/** A path that is not `known` now shows what it was last, and looks like nothing that is known. */
export function paintPath(element, path) {
  const [state, target, dev, more] = element.children;
  const kind = path.class ?? "unknown";
  const look = path.known ? kind : "unknown";
  const word = tOr(`multipath.path.${kind}`, kind);
  attr(element, "data-state", look);
  attr(state, "data-state", look);
  attr(state.firstElementChild, "data-state", look);
  text(state.lastElementChild, path.known ? word : t("multipath.path-last", { state: word }));
  text(target, path.target);
  text(dev, path.dev ?? "");
  const odd = Object.entries(QUIET).filter(([name, usual]) => path[name] && !usual.has(path[name])).map(([name]) => oddWords(name, String(path[name])));
  if (path.group !== null && path.group !== undefined) odd.push(t("multipath.group", { group: path.group }));
  text(more, odd.join(", "));
}

/** What a checker, the kernel or a device says of a path, in words; as it is if this page has none for it. */
function oddWords(name, value) {
  const code = value.replaceAll(/[ /]+/g, "-");
  if (name === "chk") return tOr(`multipath.chk.${code}`, `chk ${value}`);
  if (name === "dm") return tOr(`multipath.dm.${code}`, `dm ${value}`);
  return tOr(`multipath.dev.${code}`, `${name} ${value}`);
}
