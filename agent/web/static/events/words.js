// What happened, in the page's language, from what an event tells beside its message. An event of a kind that this page does not know, or
// that lacks something, is told by its message, as its agent wrote it.

import { keyName } from "../history/keys.js";
import { reasonText, stateWord } from "../multipath/cells.js";
import { number, t, tOr } from "../strings.js";

const PATHS_SAID = 4;
const KEYS_SAID = 3;

/** An event as `{words, ours}`: its text, and whether it is in the page's language. `names` gives the names of LUNs. */
export function wordsOf(event, names) {
  const [form, say] = Object.hasOwn(SAYINGS, event.kind) ? SAYINGS[event.kind] : [];
  const ours = form !== undefined && Object.entries(form).every(([name, is]) => is(event[name]));
  return { words: ours ? say(event, names) : String(event.message ?? ""), ours };
}

const texts = (value) => Array.isArray(value) && value.every((each) => typeof each === "string");
const word = (value) => typeof value === "string";
const count = (value) => Number.isInteger(value);
const counts = (value) => typeof value === "object" && value !== null && Object.values(value).every(count);

const nodeWord = (state) => tOr(`node.${state}`, state);
const applyWord = (state) => tOr(`nodes.apply.${state}`, state);
const inBrackets = (list) => (list.length ? ` (${list.join(", ")})` : "");

/** That it is so now and was otherwise, or that it still is so and only the reasons are others. */
function change(what, wordOf, { before, after }, values) {
  if (before === after) return t(`events.text.still.${what}`, { ...values, after: wordOf(after) });
  return t(`events.text.moved.${what}`, { ...values, before: wordOf(before), after: wordOf(after) });
}

/** The first of a list, and how many more there are. */
function listed(list, most, all = list.length) {
  const left = all - Math.min(most, list.length);
  return list.slice(0, most).join(", ") + (left > 0 ? t("events.text.and-more", { n: left }) : "");
}

function resource({ resource_kind: kind, id }, names) {
  if (kind === "multipath.map" || kind === "nvme.subsystem") return t("events.text.lun-name", { lun: names.of(id) });
  return kind === "storage" ? t("history.key.storage/", { id }) : `${kind} ${id}`;
}

function edit(key) {
  return [{ author: word, keys: texts, more_keys: count, reason: word }, ({ author, keys, more_keys: more, reason }, names) => {
    const what = listed(keys.map((each) => keyName(each, names)), KEYS_SAID, keys.length + more);
    return t(key, { author, what }) + (reason && `: ${reason}`);
  }];
}

function paths(key) {
  return [{ node: word, wwid: word, paths: texts, count }, ({ node, wwid, paths: list, count: n }, names) =>
    t(key, { n, node, lun: names.of(wwid), paths: listed(list, PATHS_SAID, n) })];
}

const ofNode = (key) => [{ node: word }, ({ node }) => t(key, { node })];
const ofKey = (key) => [{ key: word }, ({ key: name }, names) => t(key, { key: keyName(name, names) })];
const ofEdits = (key) => [{ edits: count }, ({ edits: n }) => t(key, { n })];

/** By kind: what an event must have for it, each with its test, and what is said. */
const SAYINGS = {
  lun: [{ wwid: word, before: word, after: word }, (event, names) => change("lun", stateWord, event, { lun: names.of(event.wwid) })],
  cell: [{ node: word, id: word, resource_kind: word, before: word, after: word, reasons: texts }, (event, names) =>
    change("cell", stateWord, event, { what: resource(event, names), node: event.node }) + inBrackets(event.reasons.map(reasonText))],
  cells: [{ node: word, count, states: counts, reasons: texts }, ({ node, count: n, states, reasons }) => {
    const reading = Object.entries(states).map(([state, each]) => `${number(each)} ${stateWord(state)}`).join(", ");
    return t("events.text.cells", { n, node, reading }) + inBrackets(reasons.map(reasonText));
  }],
  "path-lost": paths("events.text.path-lost"),
  "path-back": paths("events.text.path-back"),
  "paths-expected": [{ node: word, wwid: word, before: count, after: count }, ({ node, wwid, before, after: n }, names) =>
    t("events.text.paths-expected", { n, before, node, lun: names.of(wwid) })],
  node: [{ node: word, before: word, after: word }, (event) => change("node", nodeWord, event, { node: event.node })],
  "node-flapping": [{ node: word }, ({ node, flapping }) => t(flapping ? "events.text.flapping" : "events.text.steady", { node })],
  apply: [{ node: word, before: word, after: word, codes: texts }, (event) =>
    change("apply", applyWord, event, { node: event.node }) + inBrackets(event.codes)],
  edit: edit("events.text.edit"),
  "late-edit": edit("events.text.late-edit"),
  "conflict-opened": ofKey("events.text.conflict-opened"),
  "conflict-resolved": ofKey("events.text.conflict-resolved"),
  "member-joined": ofNode("events.text.member-joined"),
  "member-left": ofNode("events.text.member-left"),
  "member-retired": ofNode("events.text.member-retired"),
  "agent-started": [{ node: word, version: word }, ({ node, version }) => t("events.text.agent-started", { node, version })],
  "agent-stopped": ofNode("events.text.agent-stopped"),
  "snapshot-taken": ofEdits("events.text.snapshot-taken"),
  "log-collected": ofEdits("events.text.log-collected"),
  more: [{ of: word, count }, ({ of, count: n }) => t("events.text.more", { n, kind: tOr(`events.kind.${of}`, of) })],
};
