// Who sees whom: a row for each node that looks, a column for each that is looked at.

import { attr, h, keyed, named, text } from "../dom.js";
import { compare, t } from "../strings.js";

/** The look of each word of a node about another. */
const LOOK = { self: "none", ok: "healthy", unheard: "degraded", unreached: "partial", cut: "missing", offline: "offline", unknown: "unknown" };
const MOST = 40;

/** The nodes that are shown: all of them, or of very many those that something is said of. */
export function shownNodes(nodes, most = MOST) {
  const names = nodes.map(({ node }) => node).sort(compare);
  if (names.length <= most) return { names, left: 0 };
  const odd = new Set();
  for (const { node, sees } of nodes) {
    for (const [other, word] of Object.entries(sees)) {
      if (word === "unheard" || word === "unreached" || word === "cut") {
        odd.add(node);
        odd.add(other);
      }
    }
  }
  const shown = names.filter((name) => odd.has(name)).slice(0, most);
  return { names: shown, left: names.length - shown.length };
}

/** What is wrong, in words. */
export function problemsOf({ one_way: oneWay, cut }) {
  return [
    ...oneWay.map(({ hears, unheard }) => t("nodes.reach.one-way", { a: hears, b: unheard })),
    ...cut.map(([a, b]) => t("nodes.reach.cut-pair", { a, b })),
  ];
}

export class Reach {
  constructor() {
    this.problems = h("ul", { class: "problems", "aria-label": t("nodes.reach.problems"), hidden: true });
    this.head = h("tr");
    this.body = h("tbody");
    this.left = h("p", { class: "muted", hidden: true });
    this.scrolls = h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": t("nodes.reach.title") },
      h("table", { class: "reach" }, h("caption", { class: "visually-hidden" }, t("nodes.reach.caption")), h("thead", {}, this.head), this.body));
    const key = (word) => h("li", {}, h("span", { class: "marked state", "data-state": LOOK[word] }, t(`nodes.reach.${word}`)));
    this.element = h("section", { class: "card reach-part", hidden: true }, h("header", {}, h("h2", {}, t("nodes.reach.title")), h("p", { class: "muted" }, t("nodes.reach.caption"))),
      this.problems, this.scrolls, this.left, h("ul", { class: "legend", "aria-label": t("nodes.reach.legend") }, ["ok", "unheard", "unreached", "cut", "offline", "unknown"].map(key)));
  }

  update(document) {
    const { names, left } = shownNodes(document.nodes);
    const rows = new Map(document.nodes.map((row) => [row.node, row]));
    this.element.hidden = document.nodes.length < 2;
    this.scrolls.hidden = names.length === 0;
    this.left.hidden = left === 0;
    text(this.left, t(names.length ? "nodes.reach.left" : "nodes.reach.all-well", { n: left }));
    const problems = problemsOf(document);
    this.problems.hidden = problems.length === 0;
    keyed(this.problems, problems, (line) => line, (line) => h("li", { "data-state": "degraded" }, h("span", { class: "mark", "data-state": "degraded", "aria-hidden": "true" }), h("div", {}, named(line))));
    keyed(this.head, ["", ...names], (name) => name, (name) => (name ? h("th", { scope: "col" }, named(name)) : h("td", {}, h("span", { class: "muted" }, t("nodes.reach.corner")))));
    keyed(this.body, names, (name) => name, (name) => h("tr", {}, h("th", { scope: "row" }, named(name))), (row, name) => {
      const sees = rows.get(name).sees;
      keyed(row, ["", ...names], (other) => other, (other) => (other ? h("td", {}, h("span", { class: "marked" }, h("span", { class: "visually-hidden" }))) : row.firstElementChild), (cell, other) => {
        if (!other) return;
        // A node may be named as something that every object has.
        const word = Object.hasOwn(sees, other) && Object.hasOwn(LOOK, sees[other]) ? sees[other] : "unknown";
        attr(cell, "data-sees", word);
        attr(cell, "title", word === "self" ? null : t("nodes.reach.cell", { a: name, b: other, word: t(`nodes.reach.${word}`) }));
        attr(cell.firstElementChild, "data-state", LOOK[word]);
        attr(cell, "data-state", LOOK[word]);
        text(cell.firstElementChild.firstElementChild, t(`nodes.reach.${word}`));
      });
    });
  }
}
