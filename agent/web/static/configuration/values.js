// How values stand in cells: text of several lines line by line, a section option by option, and nothing as such.

import { h, named, visible } from "../dom.js";
import { t } from "../strings.js";

/** A text; its line ends are kept, all else that cannot be seen is made visible. */
export function textValue(value, attributes = {}) {
  const element = h("bdi", { class: "value", ...attributes });
  value.split("\n").forEach((line, index) => element.append(...(index ? ["\n"] : []), line.split("\t").map(visible).join("\t")));
  return element;
}

/** A value in a cell: a text, the options of a whole section, or null for none. */
export function valueCell(value) {
  if (value === null) return h("em", { class: "muted" }, t("configuration.no-section"));
  if (typeof value !== "object") return value === "" ? h("em", { class: "muted" }, t("configuration.not-set")) : textValue(value);
  const options = Object.entries(value);
  if (!options.length) return h("em", { class: "muted" }, t("configuration.no-options"));
  return h("ul", { class: "values" }, options.map(([name, text]) => h("li", {}, named(name, { class: "muted" }), " ", textValue(text))));
}
