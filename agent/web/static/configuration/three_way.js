// The three-way view: what was read, what others made of it since, and what is wanted here. Nothing of what was typed is given up unasked.

import { dialog, freshId, h } from "../dom.js";
import { keyName } from "../history/keys.js";
import { t } from "../strings.js";
import { Editor } from "./editor.js";
import { mergeText, threeWay, wantedOver } from "./merge.js";
import { textValue, valueCell } from "./values.js";

const HEAD = ["what", "base", "theirs", "mine"];

function heads() {
  return h("thead", {}, h("tr", {}, HEAD.map((name) => h("th", { scope: "col" }, t(`configuration.three.${name}`)))));
}

function line({ key, option, base, theirs, mine }, names, choice = null) {
  const what = h("th", { scope: "row" }, keyName(key, names), option === null ? null : h("div", { class: "mono" }, option));
  const cell = (value, column, side) => h("td", { "data-column": t(`configuration.three.${column}`) }, choice ? choice(side, valueCell(value)) : valueCell(value));
  return h("tr", {}, what, h("td", { "data-column": t("configuration.three.base") }, valueCell(base)), cell(theirs, "theirs", "theirs"), cell(mine, "mine", "mine"));
}

function table(rows, names, label, choice) {
  return h("div", { class: "scrolls" }, h("table", { class: "plain three-way", "aria-label": label }, heads(), h("tbody", {}, rows.map((row) => line(row, names, choice && ((side, value) => choice(row, side, value)))))));
}

/** Ask about the sections. Resolves to what is wanted over `theirs`, or to null if it was put off. */
export function askSections({ base, mine, theirs, names, by }) {
  const rows = threeWay(base, mine, theirs);
  const kinds = (...wanted) => rows.filter(({ kind }) => wanted.includes(kind));
  const clashes = kinds("clash");
  const kept = new Map();
  const pick = (row, side, value) => {
    const group = groups.get(row.id) ?? groups.set(row.id, freshId("side")).get(row.id);
    const input = h("input", { type: "radio", name: group, value: side, required: true, on: { change: () => kept.set(row.id, side) } });
    return h("label", { class: "pick" }, input, h("span", { class: "visually-hidden" }, t(`configuration.three.take-${side}`)), value);
  };
  const groups = new Map();
  const part = (title, found, choice) => found.length > 0 && h("section", {}, h("h3", {}, title), table(found, names, title, choice));
  const others = kinds("theirs", "both");
  return dialog({
    title: t("configuration.three.title"),
    content: h("div", { class: "three-way-view" },
      h("p", {}, t("configuration.three.why", { by: by || t("configuration.three.somebody") })),
      part(t("configuration.three.clashes", { n: clashes.length }), clashes, pick),
      part(t("configuration.three.only-mine", { n: kinds("mine").length }), kinds("mine")),
      others.length > 0 && h("details", { open: clashes.length === 0 }, h("summary", {}, t("configuration.three.only-theirs", { n: others.length })), table(others, names, t("configuration.three.only-theirs", { n: others.length }))),
      h("p", { class: "muted" }, t("configuration.three.then"))),
    action: t("configuration.three.go-on"),
    cancel: t("configuration.three.later"),
    collect: () => wantedOver(rows, theirs, new Set([...kept].filter(([, side]) => side === "mine").map(([id]) => id))),
  });
}

/** Ask about the overrides. Resolves to the text that is wanted over `theirs`, or to null if it was put off. */
export function askText({ base, mine, theirs, by }) {
  const merged = mergeText(base, mine, theirs, { mine: t("configuration.three.mine"), theirs: t("configuration.three.theirs") });
  const editor = new Editor({ label: t("configuration.three.result"), changed: () => {} });
  editor.value = merged.text;
  const side = (name, text) => h("section", {}, h("h3", {}, t(`configuration.three.${name}`)), h("pre", { class: "mono side", tabindex: 0 }, textValue(text || "–")));
  return dialog({
    title: t("configuration.three.title-overrides"),
    content: h("div", { class: "three-way-view" },
      h("p", {}, t("configuration.three.why-overrides", { by: by || t("configuration.three.somebody") })),
      h("div", { class: "sides" }, side("base", base), side("theirs", theirs), side("mine", mine)),
      h("section", {}, h("h3", {}, t("configuration.three.result")), merged.clashes ? h("p", { class: "fault" }, t("configuration.three.markers", { n: merged.clashes })) : null, editor.element),
      h("p", { class: "muted" }, t("configuration.three.then"))),
    action: t("configuration.three.go-on"),
    cancel: t("configuration.three.later"),
    collect: () => editor.value,
  });
}
