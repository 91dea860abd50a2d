// Cluster → Multipath: how many LUNs are in which state, which nodes have a problem, and the grid of all LUNs on all nodes.

import { attr, button, freshId, h, keyed, mark, named, text } from "../dom.js";
import { columnsOf } from "../multipath/columns.js";
import { Detail } from "../multipath/detail.js";
import { Grid } from "../multipath/grid.js";
import { countStates, filters, fits, formatQuery, gentleOrder, nameRanks, ordering, parseQuery, STATES } from "../multipath/query.js";
import { Matrix } from "../multipath/rows.js";
import { stateWord } from "../multipath/cells.js";
import { compare, number, t, time } from "../strings.js";

const TYPING_MS = 150;
const WWID = "wwid/";

export function mount(root, app) {
  return new Multipath(root, app);
}

class Multipath {
  #app;
  #matrix;
  #grid;
  #query = parseQuery({});
  #ranks = null;
  #abouts = new Map();
  #typing = 0;
  #painted = false;

  constructor(root, app) {
    this.#app = app;
    this.#matrix = app.matrix ??= new Matrix(app.live, app.failed);
    this.#grid = new Grid({
      rows: (key) => this.#matrix.get(key),
      openRow: (row) => new Detail(app, row),
      sorted: (column) => this.#sort(column),
      moved: () => this.#arrange(),
    });
    this.#build(root);
    this.#matrix.on("changed", (keys) => this.#changed(keys));
    this.#matrix.on("nodes", () => {
      this.#head();
      this.#grid.render();
    });
    app.nodes.on("changed", () => {
      this.#head();
      this.#problems();
    });
    app.conflicts.on("changed", () => this.#conflicts());
    if (app.conflicts.value) this.#conflicts();
    this.#matrix.load();
  }

  show(parameters) {
    this.#query = parseQuery(parameters);
    this.#controls();
    this.#arrange({ anew: true });
    this.#head();
  }

  shown() {
    this.#grid.render();
  }

  // -- the parts -------------------------------------------------------------------------------------------------------

  #build(root) {
    root.classList.add("multipath");
    this.summary = h("p", { class: "muted", role: "status" }, t("multipath.loading"));
    this.chips = h("div", { class: "chips", role: "group", "aria-label": t("multipath.states") });
    keyed(this.chips, STATES, (state) => state, (state) => {
      const chip = button("", () => this.#toggleState(state), { class: "chip", "data-state": state, "aria-pressed": "false" });
      chip.append(mark(state), h("span", {}, stateWord(state)), h("strong"));
      return chip;
    });
    this.search = h("input", { type: "search", class: "search", placeholder: t("multipath.search"), "aria-label": t("multipath.search"), autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#ask({ text: this.search.value }), TYPING_MS);
    });
    this.storage = select(t("multipath.storage"), (value) => this.#ask({ storage: value }));
    this.array = select(t("multipath.array"), (value) => this.#ask({ array: value }));
    this.reset = button(t("multipath.reset"), () => this.#ask({ states: new Set(), storage: "", array: "", text: "" }), { class: "quiet", hidden: true });
    this.resort = button(t("multipath.resort"), () => this.#arrange({ anew: true }), { class: "small", title: t("multipath.resort-why"), hidden: true });
    this.problems = h("ul", { class: "problems", "aria-label": t("multipath.problems"), hidden: true });
    this.empty = h("p", { class: "empty muted", hidden: true }, h("span"), " ", h("a", { href: this.#app.address("configuration", { part: "luns" }) }, t("multipath.none-add")));
    root.append(
      h("div", { class: "panel-head" }, h("h1", {}, t("multipath.title")), this.summary),
      this.chips,
      h("div", { class: "row-of-controls", role: "search", "aria-label": t("multipath.filters") }, this.search, this.storage, this.array, this.reset, this.resort),
      this.problems, this.empty, this.#grid.element);
  }

  #controls() {
    for (const chip of this.chips.children) attr(chip, "aria-pressed", this.#query.states.has(chip.dataset.state) ? "true" : "false");
    if (document.activeElement !== this.search) this.search.value = this.#query.text;
    this.#options();
    this.reset.hidden = !filters(this.#query);
  }

  #options() {
    const rows = [...this.#matrix.values()];
    options(this.storage, t("multipath.any-storage"), rows.flatMap((row) => row.storages), this.#query.storage);
    options(this.array, t("multipath.any-array"), rows.map((row) => row.array).filter(Boolean), this.#query.array);
  }

  // -- what is asked for -----------------------------------------------------------------------------------------------

  #ask(change) {
    this.#query = { ...this.#query, ...change };
    this.#app.setParameters(formatQuery(this.#query));
    this.#controls();
    this.#arrange({ anew: true });
    this.#head();
  }

  #toggleState(state) {
    const states = new Set(this.#query.states);
    if (!states.delete(state)) states.add(state);
    this.#ask({ states });
  }

  /** By a column; again: the other way; a third time: by state, as at first. */
  #sort(column) {
    const { sort, down } = this.#query;
    if (sort !== column) this.#ask({ sort: column, down: false });
    else this.#ask(down ? { sort: "state", down: false } : { down: true });
  }

  // -- what comes ------------------------------------------------------------------------------------------------------

  #changed(keys) {
    const start = performance.now();
    const told = keys === null || [...keys].some((key) => this.#matrix.get(key)?.about !== this.#abouts.get(key));
    if (told) this.#ranks = null;
    this.#head();
    this.#arrange(); // this may measure open rows: before anything is written into them
    this.#grid.update(keys);
    if (told) this.#options();
    this.#mark(start);
  }

  #arrange({ anew = false } = {}) {
    const rows = [...this.#matrix.values()];
    if (this.#ranks === null) {
      this.#ranks = nameRanks(rows);
      this.#abouts = new Map(rows.map((row) => [row.key, row.about]));
    }
    const fit = fits(this.#query);
    const held = anew ? new Set() : this.#grid.held;
    const shown = rows.filter((row) => fit(row) || held.has(row.key)).sort(ordering(this.#query, this.#ranks)).map(({ key }) => key);
    let order = shown;
    let stale = false;
    if (!anew && this.#grid.busy) ({ order, stale } = gentleOrder(this.#grid.order, shown));
    if (anew || order.length !== this.#grid.order.length || order.some((key, index) => key !== this.#grid.order[index])) this.#grid.setOrder(order);
    this.resort.hidden = !stale;
    this.#count(rows, shown.length);
  }

  #count(rows, shown) {
    const counts = countStates(rows.filter(fits(this.#query, { anyState: true })));
    for (const chip of this.chips.children) {
      const count = counts.get(chip.dataset.state);
      text(chip.lastElementChild, number(count));
      chip.classList.toggle("none", count === 0);
    }
    if (!this.#matrix.loaded) return;
    const parts = [t("multipath.summary", { n: rows.length, nodes: this.#matrix.nodes.size })];
    const flagged = rows.filter(({ flags }) => flags.length).length;
    if (flagged) parts.push(t("multipath.flagged", { n: flagged }));
    if (shown !== rows.length) parts.push(t("multipath.shown", { shown, n: rows.length }));
    text(this.summary, parts.join(" · "));
    this.empty.hidden = shown > 0;
    this.#grid.element.hidden = shown === 0;
    const [said, add] = this.empty.children;
    text(said, rows.length ? t("multipath.none-fits") : t("multipath.none"));
    add.hidden = rows.length > 0;
  }

  #head() {
    const resting = new Set((this.#app.nodes.value?.nodes ?? []).filter(({ maintenance }) => maintenance).map(({ node }) => node));
    this.#grid.setHead(columnsOf(this.#matrix.values(), this.#matrix.nodes, resting), this.#query.sort, this.#query.down);
  }

  /** The rows of LUNs whose section has several values lead to where one is taken. */
  #conflicts() {
    const keys = this.#app.conflicts.value.conflicts.map(({ key }) => key).filter((key) => key.startsWith(WWID));
    this.#grid.setConflicts(new Map(keys.map((key) => [`multipath.map ${key.slice(WWID.length)}`, this.#app.address("conflicts", { key })])));
  }

  #problems() {
    const nodes = this.#app.nodes.value?.nodes ?? [];
    const found = [];
    for (const state of ["offline", "suspect"]) {
      const names = nodes.filter((node) => node.state === state).map(({ node }) => node);
      if (names.length) found.push({ key: state, state, title: t("multipath.nodes-away", { n: names.length, state: t(`node.${state}`) }), message: names.join(", ") });
    }
    for (const { node, state, apply } of nodes) {
      for (const fault of ["offline", "suspect"].includes(state) ? [] : apply.errors) {
        const more = fault.since ? t("multipath.times", { n: fault.count, since: time(fault.since) }) : "";
        found.push({ key: `${node} ${fault.code}`, state: "failed", title: t("multipath.apply-failed", { node }), message: `${fault.message} (${fault.code})`, hint: fault.hint, more });
      }
    }
    this.problems.hidden = found.length === 0;
    keyed(this.problems, found, ({ key }) => key,
      ({ state }) => h("li", { "data-state": state }, mark(state), h("div", {}, named("", { class: "problem-title" }), named("", { class: "problem-what" }), named("", { class: "problem-hint" })), h("span", { class: "muted" })),
      (element, { title, message, hint = "", more = "" }) => {
        const [, words, when] = element.children;
        text(words.children[0], title);
        text(words.children[1], message);
        text(words.children[2], hint ? t("multipath.hint", { hint }) : "");
        text(when, more);
      });
  }

  /** Marks for measurements: when what the agent told could be seen, and how long the frame took that shows it. */
  #mark(start) {
    const detail = this.#matrix.version;
    const first = !this.#painted && this.#matrix.loaded;
    this.#painted ||= first;
    const { port1, port2 } = new MessageChannel();
    // A message that is sent from within a frame comes when the frame is done.
    port1.onmessage = () => {
      port1.close();
      performance.mark("matrix-painted", { detail });
      performance.measure("matrix-update", { start, end: performance.now(), detail });
      if (first) performance.mark("matrix-first-paint", { detail });
    };
    port2.postMessage(null);
  }
}

function select(label, changed) {
  const element = h("select", { id: freshId("select"), "aria-label": label });
  element.addEventListener("change", () => changed(element.value));
  return element;
}

/** The choices of a filter: all that there are, and what the address asks for. */
function options(element, any, values, chosen) {
  const found = [...new Set(chosen ? [...values, chosen] : values)].sort(compare);
  const said = JSON.stringify([found, chosen]);
  if (element.dataset.said === said) return;
  element.dataset.said = said;
  element.replaceChildren(h("option", { value: "" }, any), ...found.map((value) => h("option", { value }, value)));
  element.value = chosen;
  element.hidden = found.length === 0;
}
