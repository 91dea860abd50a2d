// What is to be said of a cell beside its state and its paths: why it is so, what is worth knowing although it works, who accepted its paths.

import { attr, h, keyed, mark, named, text } from "../dom.js";
import { t, time, tOr } from "../strings.js";
import { isGrave, reasonText, stateWord } from "./cells.js";
import { isKnown } from "./paths.js";

/** A cell's flags, the grave ones first, `{code, text, state}` each; those of one that is not known were so when it was last. */
export function flagsOf(cell) {
  return [...(cell.flags ?? [])].sort((a, b) => isGrave(b) - isGrave(a)).map((code) => (isKnown(cell)
    ? { code, text: reasonText(code), state: isGrave(code) ? "failed" : "degraded" }
    : { code, text: t("multipath.last-known", { what: reasonText(code) }), state: "unknown" }));
}

/** Whether I/O waits when no path is left; empty where nothing is to be said of it. */
export function queueingText({ queueing }) {
  return !queueing || queueing === "none" ? "" : t("multipath.queueing", { queueing: tOr(`nodes.queueing.${queueing}`, queueing) });
}

/** Who accepted the paths, until when and why; empty if nobody did. */
export function acceptedText({ acked }) {
  if (!acked) return "";
  const by = acked.by || "?";
  const who = acked.expires ? t("multipath.accepted-until", { by, until: time(acked.expires) }) : t("multipath.accepted-by", { by });
  return acked.reason ? `${who}: ${acked.reason}` : who;
}

/** All of it, `{key, code, text, state}` each; `state` is "" for what has no look of its own. */
export function remarksOf(cell) {
  const flags = flagsOf(cell);
  const flagged = new Set(flags.map(({ code }) => code));
  const plain = (key, words, code = "") => ({ key, code, text: words, state: "" });
  return [
    ...flags.map((flag) => ({ key: flag.code, ...flag })),
    ...cell.reasons.filter((code) => !flagged.has(code)).map((code) => plain(code, reasonText(code), code)),
    ...(cell.last ? [plain("last", t("multipath.last", { state: stateWord(cell.last.state) }))] : []),
    ...(cell.state === "healthy" || cell.queueing === "off" ? [] : [plain("queueing", queueingText(cell))]),
    plain("accepted", acceptedText(cell)),
  ].filter(({ text: words }) => words);
}

/** Write them into a list. */
export function paintRemarks(list, remarks) {
  keyed(list, remarks, ({ key, state }) => `${key} ${state}`, ({ state }) => h("li", { "data-state": state || null }, state ? mark(state) : null, named("")),
    (item, { text: words, code }) => {
      text(item.lastElementChild, words);
      attr(item, "title", code && code !== words ? code : null);
    });
}
