// The grid: a row for each LUN, a column for each node, of which only those rows are elements that can be seen.
//
// Rows are keyed. A row's element is the same one for as long as the row stays near the view, and changes are written into its cells, so
// scroll, selection, focus and open rows stay. Rows have one height; an open one has a second element below it whose height is measured.

import { attr, h, named, place, text, visible } from "../dom.js";
import { t } from "../strings.js";
import { Cursor } from "./cursor.js";
import { FIXED, rowPattern, RowView } from "./row_view.js";

const ROW_PX = 42;
const OVERSCAN = 5;
const MOST_FLASHES = 16; // more at once is no news of a cell
const FLASH = { duration: 1600, easing: "ease-out" };
const COLUMN_PX = { least: 66, most: 132, letter: 7.4, edges: 26 };

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
  #conflicts = new Map();
  #pattern = null;
  #asked = false;
  /** Rows beside the view that are others now. */
  #later = new Set();
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
    this.#cursor = new Cursor(this);
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
  #cursor;

  /** Whether a person is at it: then rows keep their places. */
  get busy() {
    return this.#open.size > 0 || this.element.matches(":hover") || this.element.contains(document.activeElement);
  }

  /** Rows that must stay though they no longer fit: those that are open, and the one with the focus. */
  get held() {
    const held = new Set(this.#open.keys());
    if (this.element.contains(document.activeElement) && this.#cursor.key !== null) held.add(this.#cursor.key);
    return held;
  }

  get order() {
    return this.#order;
  }

  // -- what the cursor asks --------------------------------------------------------------------------------------------

  rowPx = ROW_PX;

  get columns() {
    return FIXED.length + this.#nodes.length;
  }

  indexOf(key) {
    return this.#index.get(key);
  }

  viewOf(key) {
    return this.#views.get(key);
  }

  isOpen(key) {
    return this.#open.has(key);
  }

  /** Scroll to a row, no further than it takes, and make it. */
  reveal(key) {
    const y = this.#offset(this.#index.get(key));
    const { scrollTop, clientHeight } = this.element;
    const head = this.head.offsetHeight;
    if (y < scrollTop) this.element.scrollTop = y;
    else if (y + ROW_PX + head > scrollTop + clientHeight) this.element.scrollTop = y + ROW_PX + head - clientHeight;
    this.#top = this.element.scrollTop;
    this.render();
  }

  // -- what is shown ---------------------------------------------------------------------------------------------------

  /** The columns of nodes, as `columnsOf` gives them, and by which column the rows are sorted. */
  setHead(nodes, sort, down) {
    const names = nodes.map(({ name }) => name);
    if (names.join("\n") !== this.#nodes.join("\n") || this.#pattern === null) this.#rebuild(nodes);
    const cells = this.head.children;
    [...FIXED, ...names.map((name) => `node:${name}`)].forEach((column, index) => {
      const cell = cells[index];
      const by = column === sort || (column === "name" && sort === "state");
      attr(cell, "aria-sort", by && sort !== "state" ? (down ? "descending" : "ascending") : index < FIXED.length || by ? "none" : null);
    });
    nodes.forEach(({ state, label, count, away, maintenance }, index) => {
      const button = cells[FIXED.length + index].firstElementChild;
      const [, tally, badge] = button.children;
      attr(button, "aria-label", visible(label));
      attr(button, "title", visible(label));
      attr(button, "data-away", away || null);
      attr(button, "data-maintenance", maintenance || null);
      attr(tally, "data-state", state);
      text(tally, count);
      badge.hidden = !maintenance;
    });
  }

  #rebuild(nodes) {
    this.#nodes = nodes.map(({ name }) => name);
    for (const view of this.#views.values()) view.element.remove();
    this.#views.clear();
    const sorter = (column, content) => h("button", { type: "button", class: "sort", tabindex: -1, "data-column": column }, content);
    const titles = FIXED.map((column, index) => h("div", { class: `head ${column}`, role: "columnheader", "aria-colindex": index + 1 },
      sorter(column, t(`multipath.column.${column}`))));
    const heads = nodes.map(({ name, short }, index) => h("div", { class: "head node", role: "columnheader", "aria-colindex": FIXED.length + index + 1 },
      sorter(`node:${name}`, [named(short, { class: "node-name" }), h("span", { class: "marked tally" }), h("span", { class: "in-maintenance", hidden: true }, t("multipath.maintenance"))])));
    this.head.replaceChildren(...titles, ...heads);
    this.#pattern = rowPattern(nodes.length);
    const longest = Math.max(0, ...nodes.map(({ short }) => short.length));
    const { least, most, letter, edges } = COLUMN_PX;
    this.element.style.setProperty("--nodes", nodes.length);
    this.element.style.setProperty("--node-width", `${Math.min(most, Math.max(least, Math.ceil(longest * letter) + edges))}px`);
    attr(this.element, "aria-colcount", this.columns);
    this.#cursor.rove();
  }

  /** The conflicts that are open: for the key of a row the address where its conflict is ended. */
  setConflicts(addresses) {
    this.#conflicts = addresses;
    for (const [key, view] of this.#views) view.conflict = addresses.get(key);
  }

  /** Show these rows in this order. */
  setOrder(keys) {
    this.#order = keys;
    this.#index = new Map(keys.map((key, index) => [key, index]));
    for (const key of [...this.#open.keys()]) if (!this.#index.has(key)) this.#close(key);
    this.#cursor.follow();
    attr(this.element, "aria-rowcount", keys.length + 1);
    this.#layout();
  }

  /** These rows are others now, or all if null. Those that are kept beside the view are written in the next frame. */
  update(keys) {
    const changed = [];
    const [first, last] = this.#seen();
    for (const [key, view] of this.#views) {
      if (keys !== null && !keys.has(key)) continue;
      const row = this.#rows(key);
      if (row === undefined) continue;
      const index = this.#index.get(key);
      if (index >= first && index < last) changed.push(...view.paint(row));
      else this.#later.add(key);
    }
    if (this.#later.size) this.#ask();
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
    requestAnimationFrame(() => this.#renderLater());
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

  /** The indices of the first row that can be seen and of the one after the last. */
  #seen() {
    return this.#printing ? [0, this.#order.length] : [this.#at(this.#top), this.#at(this.#top + this.#view) + 1];
  }

  #renderLater() {
    this.#asked = false;
    for (const key of this.#later) {
      const row = this.#rows(key);
      if (row !== undefined) this.#views.get(key)?.paint(row);
    }
    this.#later.clear();
    this.render();
  }

  /** Make what can be seen now, and let go of what is far from it. */
  render() {
    if (this.#pattern === null) return;
    const [from, to] = this.#seen();
    const beside = this.#views.size ? OVERSCAN : 0; // at first only those that are seen
    const first = Math.max(0, from - beside);
    const last = Math.min(this.#order.length, to + beside);
    const wanted = new Set(this.#order.slice(first, last));
    for (const key of this.#open.keys()) wanted.add(key);
    const { key: active } = this.#cursor;
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
    if (!beside && this.#views.size) requestAnimationFrame(() => this.#ask()); // the others once these are painted
  }

  #make(key) {
    const row = this.#rows(key);
    if (row === undefined) return null;
    const view = new RowView(this.#pattern, this.#nodes);
    attr(view.element, "data-key", key);
    view.paint(row);
    if (this.#open.has(key)) view.open = true;
    if (this.#conflicts.has(key)) view.conflict = this.#conflicts.get(key);
    this.#views.set(key, view);
    if (key === this.#cursor.key) this.#cursor.rove();
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
      const view = this.#views.get(key);
      if (view) view.open = true;
    }
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
    const view = this.#views.get(key);
    if (view) view.open = false;
  }

  // -- the mouse -------------------------------------------------------------------------------------------------------

  #clicked(event) {
    const sorter = event.target.closest(".sort");
    if (sorter) {
      this.#sorted(sorter.dataset.column);
      return;
    }
    const row = event.target.closest("a") ? null : event.target.closest(".grid-row");
    // Who selects text to copy it opens nothing.
    if (row && (event.target.closest("button") || getSelection().isCollapsed)) this.toggle(row.dataset.key);
  }
}
