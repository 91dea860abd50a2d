// The place in the grid that the keyboard is at: one stop for the whole grid, the arrow keys within it (ARIA practices, grid pattern).

import { attr } from "../dom.js";

/**
 * The place. `grid` tells where rows are: `element`, `head`, `order` (keys), `columns` (how many), `rowPx`, `indexOf(key)`, `viewOf(key)` (of a row
 * that is made), `reveal(key)` scrolls to a row and makes it, `isOpen(key)`, `toggle(key)`.
 */
export class Cursor {
  #grid;
  /** The row's key, and null for the header. */
  #key = null;
  #column = 0;

  constructor(grid) {
    this.#grid = grid;
    grid.element.addEventListener("keydown", (event) => this.#pressed(event));
    grid.element.addEventListener("focusin", ({ target }) => this.#focused(target));
  }

  get key() {
    return this.#key;
  }

  /** The rows are others now: if its own is gone it is at the first. */
  follow() {
    if (this.#key !== null && this.#grid.indexOf(this.#key) === undefined) this.#key = this.#grid.order[0] ?? null;
  }

  /** Make its place the one stop. */
  rove() {
    const { element, head } = this.#grid;
    for (const old of element.querySelectorAll(".grid-head [tabindex='0'], .grid-row [tabindex='0']")) attr(old, "tabindex", "-1");
    const target = this.#target() ?? head.firstElementChild?.firstElementChild;
    if (target) attr(target, "tabindex", "0");
  }

  /** The element that has the focus when the keyboard is here. */
  #target() {
    if (this.#key === null) return this.#grid.head.children[this.#column]?.firstElementChild ?? null;
    const view = this.#grid.viewOf(this.#key);
    if (view === undefined) return null;
    return this.#column === 0 ? view.toggle : view.element.children[this.#column];
  }

  #focused(target) {
    const cell = target.closest("[aria-colindex]");
    const row = target.closest(".grid-row, .grid-head");
    if (cell === null || row === null) return;
    this.#key = row.dataset.key ?? null;
    this.#column = [...row.children].indexOf(cell);
    this.rove();
  }

  #go(index, column) {
    const { order, columns } = this.#grid;
    this.#key = index < 0 ? null : order[Math.min(index, order.length - 1)] ?? null;
    this.#column = Math.max(0, Math.min(column, columns - 1));
    if (this.#key !== null) this.#grid.reveal(this.#key);
    this.rove();
    const target = this.#target();
    target?.focus({ preventScroll: true });
    this.#intoView(target);
  }

  /** Scroll sideways so that a cell is not under the first column. */
  #intoView(target) {
    const cell = target?.closest("[aria-colindex]");
    if (!cell || cell.parentElement.firstElementChild === cell) return;
    const { element } = this.#grid;
    const grid = element.getBoundingClientRect();
    const first = cell.parentElement.firstElementChild.getBoundingClientRect();
    const box = cell.getBoundingClientRect();
    if (box.left < first.right) element.scrollLeft -= first.right - box.left + 4;
    else if (box.right > grid.left + element.clientWidth) element.scrollLeft += box.right - grid.left - element.clientWidth + 4;
  }

  #pressed(event) {
    if (event.ctrlKey && !["Home", "End"].includes(event.key)) return;
    if (event.altKey || event.metaKey || event.target.closest(".grid-detail")) return;
    const { element, head, order, columns, rowPx } = this.#grid;
    const key = this.#key;
    const column = this.#column;
    const index = key === null ? -1 : this.#grid.indexOf(key) ?? -1;
    const page = Math.max(1, Math.floor((element.clientHeight - head.offsetHeight) / rowPx) - 1);
    const end = columns - 1;
    const moves = {
      ArrowDown: [index + 1, column],
      ArrowUp: [index - 1, column],
      ArrowRight: [index, column + 1],
      ArrowLeft: [index, column - 1],
      PageDown: [index + page, column],
      PageUp: [Math.max(index < 0 ? -1 : 0, index - page), column],
      Home: event.ctrlKey ? [0, 0] : [index, 0],
      End: event.ctrlKey ? [order.length - 1, end] : [index, end],
    };
    if (Object.hasOwn(moves, event.key)) {
      event.preventDefault();
      this.#go(...moves[event.key]);
    } else if (((event.key === "Enter" || event.key === " ") && key !== null && column > 0) || (event.key === "Escape" && key !== null && this.#grid.isOpen(key))) {
      event.preventDefault();
      this.#grid.toggle(key);
    }
  }
}
