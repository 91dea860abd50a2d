// What is told beside what is shown: for a few seconds, or, of a fault, until it is closed or is none any more.

import { button, h, text } from "./dom.js";
import { t } from "./strings.js";

const NOTICE_MS = 8000;
const MOST_FAULTS = 5;

/** What is told now, by its words. */
const told = new Map();

/** A fault in a line, with what to do about it. */
export const said = ({ message, hint }) => [message, hint].filter(Boolean).join(" · ");

/** Tell something; a `fault` stays, and is told once however often it comes. `action` is a button's label and what it does; then it stays too. */
export function notice(message, { fault = null, action = null } = {}) {
  const before = told.get(message);
  if (before && fault) {
    before.times += 1;
    before.count.hidden = false;
    text(before.count, t("shell.times", { n: before.times }));
    return;
  }
  end(message);
  const count = h("span", { class: "muted", hidden: true });
  const element = h("p", { class: fault ? "notice fault" : "notice" }, h("bdi", {}, message), count,
    action && button(action.label, action.act, { class: "small" }), button("×", () => end(message), { class: "quiet", "aria-label": t("shell.close") }));
  const timer = fault || action ? 0 : setTimeout(() => end(message), NOTICE_MS);
  told.set(message, { element, count, timer, fault, times: 1 });
  document.getElementById("notices").append(element);
  const faults = [...told].filter(([, each]) => each.fault);
  if (faults.length > MOST_FAULTS) end(faults[0][0]);
}

/** Take back what was told of faults that are so. */
export function takeBack(isSo) {
  for (const [message, { fault }] of told) if (fault && isSo(fault)) end(message);
}

function end(message) {
  const { element, timer } = told.get(message) ?? {};
  clearTimeout(timer);
  element?.remove();
  told.delete(message);
}
