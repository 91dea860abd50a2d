// What a cell of the matrix says, in its few characters and for those who hear it.

import { t, tOr } from "../strings.js";

/** The word for a state; one that this page does not know stands for itself. */
export const stateWord = (state) => tOr(`state.${state}`, state);

/** The text of a cell: usable of expected paths. What is not known has no number that could be taken for one. */
export function cellText({ state, usable, expected }) {
  if (state === "unknown") return "?";
  if (state === "pending") return "…";
  if (usable === null) return "–";
  return expected === null ? `${usable}` : `${usable}/${expected}`;
}

/** The same in words. */
export function cellLabel(node, cell) {
  if (cell === undefined) return t("multipath.cell-none", { node });
  const { state, usable, expected, reasons, last } = cell;
  const values = { node, state: stateWord(state), usable, expected };
  const counted = state !== "unknown" && state !== "pending" && usable !== null;
  const key = !counted ? "multipath.cell-label-bare" : expected === null ? "multipath.cell-label-count" : "multipath.cell-label";
  const more = last === null ? [] : [t("multipath.cell-last", { state: stateWord(last) })];
  return [t(key, values), ...reasons.map(reasonText), ...more].join("; ");
}

/** What a reason means, or its code if this page does not know it. */
export const reasonText = (code) => tOr(`reason.${code}`, code);

/** Whether two cells, or two that are not there, say the same. */
export function sameCell(a, b) {
  if (a === b) return true;
  if (!a || !b || a.state !== b.state || a.usable !== b.usable || a.expected !== b.expected || a.last !== b.last) return false;
  return a.reasons.length === b.reasons.length && a.reasons.every((reason, index) => reason === b.reasons[index]);
}
