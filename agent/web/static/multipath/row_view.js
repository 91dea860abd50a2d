// One row of the grid as elements, and what was written into them last: only what is another is written anew.

import { attr, h, named, text, visible } from "../dom.js";
import { size, t } from "../strings.js";
import { cellLabel, cellText, gravityOf, reasonText, sameCell, stateWord } from "./cells.js";

/** The columns before those of the nodes. */
export const FIXED = ["name", "array", "size", "storages"];

/** What rows of so many nodes are copied from. */
export function rowPattern(nodes) {
  const toggle = h("button", { type: "button", class: "lun", tabindex: -1 }, h("span", { class: "mark" }),
    h("span", { class: "words" }, named("", { class: "lun-name" }), named("", { class: "lun-sub mono" })), h("span", { class: "flag", hidden: true }, "!"));
  return h("div", { class: "grid-row", role: "row" },
    h("div", { class: "name", role: "rowheader", "aria-colindex": 1 }, toggle, h("a", { class: "conflicted", hidden: true }, h("span", { "aria-hidden": "true" }, "≠"))),
    h("div", { class: "array", role: "gridcell", "aria-colindex": 2, tabindex: -1, dir: "auto" }),
    h("div", { class: "size", role: "gridcell", "aria-colindex": 3, tabindex: -1 }),
    h("div", { class: "storages", role: "gridcell", "aria-colindex": 4, tabindex: -1, dir: "auto" }),
    Array.from({ length: nodes }, (_, index) => h("div", { class: "cell marked", role: "gridcell", "aria-colindex": FIXED.length + index + 1, tabindex: -1 })));
}

export class RowView {
  #row = null;
  #open = false;

  constructor(pattern, nodes) {
    this.element = pattern.cloneNode(true);
    let head;
    [head, this.array, this.size, this.storages, ...this.cells] = this.element.children;
    this.nodes = nodes;
    [this.toggle, this.conflicted] = head.children;
    [this.mark, this.words, this.flag] = this.toggle.children;
    [this.name, this.sub] = this.words.children;
    this.shown = nodes.map(() => null);
  }

  /** Write what changed; the cells that did. */
  paint(row) {
    const changed = [];
    if (row === this.#row) return changed;
    const before = this.#row;
    this.#row = row;
    if (before?.state !== row.state) {
      attr(this.mark, "data-state", row.state);
      attr(this.element, "data-row-state", row.state);
    }
    if (before?.about !== row.about) this.#paintAbout(row);
    const gravity = gravityOf(row.flags);
    if (gravity || before?.flags.length) {
      this.flag.hidden = !gravity;
      attr(this.flag, "data-flag", gravity || null);
      attr(this.flag, "title", row.flags.map(reasonText).join("; ") || null);
    }
    this.nodes.forEach((node, index) => {
      const cell = row.cells.get(node);
      const shown = this.shown[index];
      if (shown !== null && sameCell(shown, cell)) return;
      const element = this.cells[index];
      attr(element, "data-state", cell?.state ?? "none");
      attr(element, "data-single", cell?.state === "degraded" && cell.usable === 1 && cell.expected > 1);
      attr(element, "data-flag", (cell && gravityOf(cell.flags)) || null);
      text(element, cell === undefined ? "" : cellText(cell));
      attr(element, "aria-label", visible(cellLabel(node, cell)));
      if (shown !== null) changed.push(element);
      this.shown[index] = cell;
    });
    if (before?.state !== row.state || before.about !== row.about || String(before.flags) !== String(row.flags)) this.#label();
    return changed;
  }

  #paintAbout(row) {
    text(this.name, row.name);
    attr(this.words, "data-unnamed", !row.alias);
    text(this.sub, row.alias ? row.id : row.configured ? "" : t("multipath.not-configured"));
    attr(this.words, "title", visible(row.alias ? `${row.alias} ${row.id}` : row.id));
    text(this.array, row.array || "–");
    text(this.size, row.size === null ? "–" : size(row.size));
    text(this.storages, row.storages.join(", ") || "–");
    attr(this.storages, "title", visible(row.storages.join(", ")));
    for (const said of ["aria-label", "title"]) attr(this.conflicted, said, visible(t("multipath.conflict-of", { name: row.name })));
  }

  /** Whether it is open. */
  set open(open) {
    this.#open = open;
    this.element.classList.toggle("open", open);
    this.#label();
  }

  /** The address of the open conflict over its section of the configuration; undefined if there is none. */
  set conflict(address) {
    attr(this.conflicted, "href", address);
    this.conflicted.hidden = !address;
    this.#label();
  }

  #label() {
    const { name, state, flags } = this.#row;
    attr(this.toggle, "aria-expanded", this.#open ? "true" : "false");
    const said = [name, stateWord(state), ...flags.map(reasonText)];
    if (!this.conflicted.hidden) said.push(t("multipath.conflict"));
    attr(this.toggle, "aria-label", visible(`${said.join(", ")}. ${t(this.#open ? "multipath.close" : "multipath.open", { name })}`));
  }
}
