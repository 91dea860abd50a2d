// The grid: a row for each LUN, a column for each node, of which only those rows are elements that can be seen.
//
// Rows are keyed. A row's element is the same one for as long as the row stays near the view, and changes are written into its cells, so
// scroll, selection, focus and open rows stay. Rows have one height; an open one has a second element below it whose height is measured.

import { attr, h, named, place, text, visible } from "../dom.js";
import { size, t } from "../strings.js";
import { cellLabel, cellText, sameCell, stateWord } from "./cells.js";

const ROW_PX = 42;
const OVERSCAN = 5;
const MOST_FLASHES = 16; // more at once is no news of a cell
const FIXED = ["name", "array", "size", "storages"];
const FLASH = { duration: 1600, easing: "ease-out" };

/** The elements of one row, and what was written into them last. */
class RowView {
  constructor(element, columns) {
    this.element = element;
    this.element.setAttribute("role", "row");
    [this.head, this.array, this.size, this.storages] = element.children;
    this.toggle = this.head.firstElementChild;
    [this.mark, this.words] = this.toggle.children;
    [this.name, this.sub] = this.words.children;
    this.cells = columns.map((_, index) => element.children[FIXED.length + index]);
    this.shown = columns.map(() => null);
    this.row = null;
  }

  /** Write what changed; the cells that did. */
  paint(row, nodes) {
    const changed = [];
    if (row === this.row) return changed;
    const before = this.row;
    this.row = row;
    if (before?.state !== row.state) {
      attr(this.mark, "data-state", row.state);
      attr(this.element, "data-row-state", row.state);
    }
    if (before?.about !== row.about) this.#paintAbout(row);
    nodes.forEach((node, index) => {
      const cell = row.cells.get(node);
      const shown = this.shown[index];
      if (shown !== null && sameCell(shown, cell)) return;
      const element = this.cells[index];
      attr(element, "data-state", cell?.state ?? "none");
      attr(element, "data-single", cell?.state === "degraded" && cell.usable === 1 && cell.expected > 1);
      text(element, cell === undefined ? "" : cellText(cell));
      attr(element, "aria-label", visible(cellLabel(node, cell)));
      if (shown !== null) changed.push(element);
      this.shown[index] = cell;
    });
    return changed;
  }

  #paintAbout(row) {
    text(this.name, row.name);
    text(this.sub, row.alias ? row.id : row.configured ? "" : t("multipath.not-configured"));
    attr(this.words, "title", visible(row.alias ? `${row.alias} ${row.id}` : row.id));
    text(this.array, row.array || "–");
    text(this.size, row.size === null ? "–" : size(row.size));
    text(this.storages, row.storages.join(", ") || "–");
    attr(this.storages, "title", visible(row.storages.join(", ")));
  }

  label(open) {
    attr(this.toggle, "aria-expanded", open ? "true" : "false");
    const state = stateWord(this.row.state);
    attr(this.toggle, "aria-label", visible(`${this.row.name}, ${state}. ${t(open ? "multipath.close" : "multipath.open", { name: this.row.name })}`));
  }
}

/**
 * The grid as an element. `rows` gives a row by its key, `openRow(key)` makes the content of a row that opens (`{element, update(row),
 * close()}`), `sorted(column)` is called when a header is used, `moved()` after the open rows changed.
 */
export class Grid {
  #nodes = [];
  #order = [];
  #index = new Map();
  #views = new Map();
  #open = new Map();
  #heights = [];
  #active = { key: null, column: 0 };
  #pattern = null;
  #asked = false;
  #printing = false;
  // Where the view is, as the browser told it: asking for it while rows are written would make it lay them out in between.
  #top = 0;
  #view = innerHeight;
  #wide = innerWidth;

  constructor({ rows, openRow, sorted, moved }) {
    this.#rows = rows;
    this.#openRow = openRow;
    this.#sorted = sorted;
    this.#moved = moved;
    this.head = h("div", { class: "grid-head", role: "row", "aria-rowindex": 1 });
    this.body = h("div", { class: "grid-body", role: "rowgroup" });
    this.element = h("div", { class: "grid", role: "grid", "aria-label": t("multipath.grid") },
      h("div", { class: "grid-top", role: "rowgroup" }, this.head), this.body);
    this.element.addEventListener("scroll", () => {
      this.#top = this.element.scrollTop;
      this.#ask();
    }, { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("focusin", (event) => this.#focused(event.target));
    this.element.addEventListener("click", (event) => this.#clicked(event));
    this.element.addEventListener("mouseover", ({ target }) => target.matches?.(".cell") && attr(target, "title", target.getAttribute("aria-label")));
    new ResizeObserver(() => {
      const taller = this.element.clientHeight > this.#view;
      this.#view = this.element.clientHeight;
      this.#wide = this.element.clientWidth;
      for (const { element } of this.#open.values()) this.#widen(element);
      if (taller) this.render();
    }).observe(this.element);
    this.#measure = new ResizeObserver(() => this.#layout());
    const print = matchMedia("print");
    print.addEventListener("change", () => this.#print(print.matches));
  }

  #rows;
  #openRow;
  #sorted;
  #moved;
  #measure;

  /** Whether a person is at it: then rows keep their places. */
  get busy() {
    return this.#open.size > 0 || this.element.matches(":hover") || this.element.contains(document.activeElement);
  }

  /** Rows that must stay though they no longer fit: those that are open, and the one with the focus. */
  get held() {
    const held = new Set(this.#open.keys());
    if (this.element.contains(document.activeElement) && this.#active.key !== null) held.add(this.#active.key);
    return held;
  }

  get order() {
    return this.#order;
  }

  // -- what is shown ---------------------------------------------------------------------------------------------------

  /** The columns of nodes: `{name, state, label, count}` each, and by which column the rows are sorted. */
  setHead(nodes, sort, down) {
    const names = nodes.map(({ name }) => name);
    if (names.join("\n") !== this.#nodes.join("\n") || this.#pattern === null) this.#rebuild(names);
    const cells = this.head.children;
    [...FIXED, ...names.map((name) => `node:${name}`)].forEach((column, index) => {
      const cell = cells[index];
      const by = column === sort || (column === "name" && sort === "state");
      attr(cell, "aria-sort", by && sort !== "state" ? (down ? "descending" : "ascending") : index < FIXED.length || by ? "none" : null);
    });
    nodes.forEach(({ state, label, count, away }, index) => {
      const button = cells[FIXED.length + index].firstElementChild;
      attr(button, "aria-label", visible(label));
      attr(button, "title", visible(label));
      attr(button, "data-away", away || null);
      attr(button.lastElementChild, "data-state", state);
      text(button.lastElementChild, count);
    });
  }

  #rebuild(names) {
    this.#nodes = names;
    for (const view of this.#views.values()) view.element.remove();
    this.#views.clear();
    const sorter = (column, content) => h("button", { type: "button", class: "sort", tabindex: -1, "data-column": column }, content);
    const titles = FIXED.map((column, index) => h("div", { class: `head ${column}`, role: "columnheader", "aria-colindex": index + 1 },
      sorter(column, t(`multipath.column.${column}`))));
    const nodes = names.map((name, index) => h("div", { class: "head node", role: "columnheader", "aria-colindex": FIXED.length + index + 1 },
      sorter(`node:${name}`, [named(name, { class: "node-name" }), h("span", { class: "marked tally" })])));
    this.head.replaceChildren(...titles, ...nodes);
    const toggle = h("button", { type: "button", class: "lun", tabindex: -1 }, h("span", { class: "mark" }),
      h("span", { class: "words" }, named("", { class: "lun-name" }), named("", { class: "lun-sub mono" })));
    this.#pattern = h("div", { class: "grid-row", role: "row" },
      h("div", { class: "name", role: "rowheader", "aria-colindex": 1 }, toggle),
      h("div", { class: "array", role: "gridcell", "aria-colindex": 2, tabindex: -1, dir: "auto" }),
      h("div", { class: "size", role: "gridcell", "aria-colindex": 3, tabindex: -1 }),
      h("div", { class: "storages", role: "gridcell", "aria-colindex": 4, tabindex: -1, dir: "auto" }),
      names.map((_, index) => h("div", { class: "cell marked", role: "gridcell", "aria-colindex": FIXED.length + index + 1, tabindex: -1 })));
    const longest = Math.max(0, ...names.map((name) => name.length));
    this.element.style.setProperty("--nodes", names.length);
    this.element.style.setProperty("--node-width", `${Math.min(132, Math.max(66, Math.ceil(longest * 7.4) + 26))}px`);
    attr(this.element, "aria-colcount", FIXED.length + names.length);
    this.#rove();
  }

  /** Show these rows in this order. */
  setOrder(keys) {
    this.#order = keys;
    this.#index = new Map(keys.map((key, index) => [key, index]));
    for (const key of [...this.#open.keys()]) if (!this.#index.has(key)) this.#close(key);
    if (this.#active.key !== null && !this.#index.has(this.#active.key)) this.#active.key = keys[0] ?? null;
    attr(this.element, "aria-rowcount", keys.length + 1);
    this.#layout();
  }

  /** These rows are others now, or all if null. */
  update(keys) {
    const changed = [];
    for (const [key, view] of this.#views) {
      if (keys !== null && !keys.has(key)) continue;
      const row = this.#rows(key);
      if (row === undefined) continue;
      changed.push(...view.paint(row, this.#nodes));
      view.label(this.#open.has(key));
    }
    for (const [key, { content }] of this.#open) {
      const row = this.#rows(key);
      if (row !== undefined && (keys === null || keys.has(key))) content.update(row);
    }
    if (changed.length <= MOST_FLASHES && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      for (const element of changed) element.animate([{ boxShadow: "inset 0 0 0 2px var(--ink)" }, { boxShadow: "inset 0 0 0 2px transparent" }], FLASH);
    }
  }

  // -- where it is shown -----------------------------------------------------------------------------------------------

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.render();
    });
  }

  #layout() {
    this.element.classList.toggle("with-open", this.#open.size > 0);
    this.#heights = [...this.#open]
      .map(([key, { element }]) => [this.#index.get(key), element.offsetHeight])
      .filter(([index]) => index !== undefined)
      .sort(([a], [b]) => a - b);
    const extra = this.#heights.reduce((sum, [, height]) => sum + height, 0);
    this.body.style.height = `${this.#order.length * ROW_PX + extra}px`;
    this.render();
  }

  #offset(index) {
    let extra = 0;
    for (const [at, height] of this.#heights) if (at < index) extra += height;
    return index * ROW_PX + extra;
  }

  #at(pixels) {
    let extra = 0;
    for (const [at, height] of this.#heights) {
      if (at * ROW_PX + ROW_PX + extra >= pixels) break;
      extra = Math.min(extra + height, Math.max(extra, pixels - (at + 1) * ROW_PX));
    }
    return Math.max(0, Math.floor((pixels - extra) / ROW_PX));
  }

  /** Make what can be seen now, and let go of what is far from it. */
  render() {
    if (this.#pattern === null) return;
    const first = this.#printing ? 0 : Math.max(0, this.#at(this.#top) - OVERSCAN);
    const last = this.#printing ? this.#order.length : Math.min(this.#order.length, this.#at(this.#top + this.#view) + OVERSCAN + 1);
    const wanted = new Set(this.#order.slice(first, last));
    for (const key of this.#open.keys()) wanted.add(key);
    const { key: active } = this.#active;
    if (active !== null && this.#index.has(active)) wanted.add(active);
    for (const [key, view] of this.#views) {
      if (!wanted.has(key)) {
        view.element.remove();
        this.#views.delete(key);
      }
    }
    const elements = [];
    for (const key of [...wanted].sort((a, b) => this.#index.get(a) - this.#index.get(b))) {
      const index = this.#index.get(key);
      const view = this.#views.get(key) ?? this.#make(key);
      if (view === null) continue;
      attr(view.element, "aria-rowindex", index + 2);
      const y = this.#offset(index);
      view.element.style.top = `${y}px`;
      view.element.classList.toggle("odd", index % 2 === 1);
      elements.push(view.element);
      const open = this.#open.get(key);
      if (open) {
        open.element.style.top = `${y + ROW_PX}px`;
        elements.push(open.element);
      }
    }
    place(this.body, elements);
  }

  #make(key) {
    const row = this.#rows(key);
    if (row === undefined) return null;
    const view = new RowView(this.#pattern.cloneNode(true), this.#nodes);
    attr(view.element, "data-key", key);
    view.paint(row, this.#nodes);
    view.label(this.#open.has(key));
    this.#views.set(key, view);
    if (key === this.#active.key) this.#rove();
    return view;
  }

  #print(printing) {
    this.#printing = printing;
    this.element.classList.toggle("printing", printing);
    this.render();
  }

  // -- open rows -------------------------------------------------------------------------------------------------------

  /** Open a row, or close it. */
  toggle(key) {
    const row = this.#rows(key);
    if (row === undefined) return;
    if (this.#open.has(key)) {
      this.#close(key);
    } else {
      const content = this.#openRow(row);
      const element = h("div", { class: "grid-detail", role: "row" },
        h("div", { class: "grid-detail-cell", role: "gridcell", "aria-colspan": FIXED.length + this.#nodes.length, "aria-label": visible(row.name) }, content.element));
      this.#open.set(key, { element, content });
      this.#widen(element);
      this.body.append(element);
      this.#measure.observe(element);
      this.#views.get(key)?.element.classList.add("open");
    }
    this.#views.get(key)?.label(this.#open.has(key));
    this.#layout();
    this.#moved();
  }

  /** The content of an open row is as wide as the view, not as the row: it does not go away sideways with the columns. */
  #widen(element) {
    element.firstElementChild.style.width = `${this.#wide}px`;
  }

  #close(key) {
    const { element, content } = this.#open.get(key);
    this.#measure.unobserve(element);
    content.close();
    element.remove();
    this.#open.delete(key);
    this.#views.get(key)?.element.classList.remove("open");
  }

  // -- keyboard and mouse ----------------------------------------------------------------------------------------------

  /** The element that has the focus for a place; the header is the row `null`. */
  #target({ key, column }) {
    if (key === null) return this.head.children[column]?.firstElementChild ?? null;
    const view = this.#views.get(key);
    if (view === undefined) return null;
    return column === 0 ? view.toggle : view.element.children[column];
  }

  #rove() {
    for (const element of this.element.querySelectorAll(".grid-head [tabindex='0'], .grid-row [tabindex='0']")) attr(element, "tabindex", "-1");
    const target = this.#target(this.#active) ?? this.head.firstElementChild?.firstElementChild;
    if (target) attr(target, "tabindex", "0");
  }

  #focused(target) {
    const cell = target.closest("[aria-colindex]");
    const row = target.closest(".grid-row, .grid-head");
    if (cell === null || row === null) return;
    this.#active = { key: row.dataset.key ?? null, column: [...row.children].indexOf(cell) };
    this.#rove();
  }

  #go(index, column) {
    const key = index < 0 ? null : this.#order[Math.min(index, this.#order.length - 1)] ?? null;
    this.#active = { key, column: Math.max(0, Math.min(column, FIXED.length + this.#nodes.length - 1)) };
    if (key !== null) {
      const y = this.#offset(this.#index.get(key));
      const { scrollTop, clientHeight } = this.element;
      const head = this.head.offsetHeight;
      if (y < scrollTop) this.element.scrollTop = y;
      else if (y + ROW_PX + head > scrollTop + clientHeight) this.element.scrollTop = y + ROW_PX + head - clientHeight;
      this.#top = this.element.scrollTop;
      this.render();
    }
    this.#rove();
    const target = this.#target(this.#active);
    target?.focus({ preventScroll: true });
    this.#intoView(target);
  }

  /** Scroll sideways so that a cell is not under the first column. */
  #intoView(target) {
    const cell = target?.closest("[aria-colindex]");
    if (!cell || cell.parentElement.firstElementChild === cell) return;
    const grid = this.element.getBoundingClientRect();
    const first = cell.parentElement.firstElementChild.getBoundingClientRect();
    const box = cell.getBoundingClientRect();
    if (box.left < first.right) this.element.scrollLeft -= first.right - box.left + 4;
    else if (box.right > grid.left + this.element.clientWidth) this.element.scrollLeft += box.right - grid.left - this.element.clientWidth + 4;
  }

  #key(event) {
    if (event.ctrlKey && !["Home", "End"].includes(event.key)) return;
    if (event.altKey || event.metaKey || event.target.closest(".grid-detail")) return;
    const { key, column } = this.#active;
    const index = key === null ? -1 : this.#index.get(key) ?? -1;
    const page = Math.max(1, Math.floor((this.element.clientHeight - this.head.offsetHeight) / ROW_PX) - 1);
    const end = FIXED.length + this.#nodes.length - 1;
    const moves = {
      ArrowDown: [index + 1, column],
      ArrowUp: [index - 1, column],
      ArrowRight: [index, column + 1],
      ArrowLeft: [index, column - 1],
      PageDown: [index + page, column],
      PageUp: [Math.max(index < 0 ? -1 : 0, index - page), column],
      Home: event.ctrlKey ? [0, 0] : [index, 0],
      End: event.ctrlKey ? [this.#order.length - 1, end] : [index, end],
    };
    if (Object.hasOwn(moves, event.key)) {
      event.preventDefault();
      this.#go(...moves[event.key]);
    } else if ((event.key === "Enter" || event.key === " ") && key !== null && column > 0) {
      event.preventDefault();
      this.toggle(key);
    } else if (event.key === "Escape" && key !== null && this.#open.has(key)) {
      event.preventDefault();
      this.toggle(key);
    }
  }

  #clicked(event) {
    const sorter = event.target.closest(".sort");
    if (sorter) {
      this.#sorted(sorter.dataset.column);
      return;
    }
    const row = event.target.closest(".grid-row");
    // Who selects text to copy it opens nothing.
    if (row && (event.target.closest("button") || getSelection().isCollapsed)) this.toggle(row.dataset.key);
  }
}
