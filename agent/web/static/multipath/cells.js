// What a cell of the matrix says, in its few characters and for those who hear it, and how grave it is what is worth knowing of it.

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

/** Flags with which data is at risk; the others want to be looked at. */
const GRAVE = new Set(["merged-luns", "io-hangs"]);

/** Whether data is at risk with a flag. */
export const isGrave = (flag) => GRAVE.has(flag);

/** How grave flags are together: "grave", "noted", or "" if there are none. */
export const gravityOf = (flags) => (flags.length === 0 ? "" : flags.some(isGrave) ? "grave" : "noted");

/** The same in words. */
export function cellLabel(node, cell) {
  if (cell === undefined) return t("multipath.cell-none", { node });
  const { state, usable, expected, reasons, last, flags } = cell;
  const values = { node, state: stateWord(state), usable, expected };
  const counted = state !== "unknown" && state !== "pending" && usable !== null;
  const key = !counted ? "multipath.cell-label-bare" : expected === null ? "multipath.cell-label-count" : "multipath.cell-label";
  const said = [t(key, values), ...reasons.map(reasonText)];
  if (last !== null) said.push(t("multipath.cell-last", { state: stateWord(last) }));
  for (const flag of flags) said.push(state === "unknown" ? t("multipath.last-known", { what: reasonText(flag) }) : reasonText(flag));
  return said.join("; ");
}

/** What a reason means, or its code if this page does not know it. */
export const reasonText = (code) => tOr(`reason.${code}`, code);

/** Whether two cells, or two that are not there, say the same. */
export function sameCell(a, b) {
  if (a === b) return true;
  if (!a || !b || a.state !== b.state || a.usable !== b.usable || a.expected !== b.expected || a.last !== b.last) return false;
  return sameList(a.reasons, b.reasons) && sameList(a.flags, b.flags);
}

const sameList = (a, b) => a.length === b.length && a.every((item, index) => item === b[index]);
