// Nodes: how each fares and what it tells of itself, and who sees whom.

import { attr, h, keyed, text } from "../dom.js";
import { Document } from "../live.js";
import { NodeCard } from "../nodes/card.js";
import { Reach } from "../nodes/reach.js";
import { compare, t } from "../strings.js";

const MEMBERS = ["node", "edit", "late-edit", "member-joined", "member-left", "member-retired"];
/** What no event tells: ages, and who sees whom. */
const EVERY_MS = 3000;
/** Of a large cluster that is much to ask for: rest so many times as long as the answers took. */
const REST = 20;

export function mount(root, app) {
  return new Nodes(root, app);
}

class Nodes {
  #app;
  #open = new Set();
  #cards = new Map();
  #visible = false;
  #timer = 0;

  constructor(root, app) {
    this.#app = app;
    root.classList.add("nodes");
    this.summary = h("p", { class: "muted", role: "status" }, t("nodes.loading"));
    this.list = h("ul", { class: "card openable", "aria-label": t("nodes.title"), hidden: true });
    this.reach = new Reach();
    root.append(h("div", { class: "panel-head" }, h("h1", {}, t("nodes.title")), this.summary), this.list, this.reach.element);
    this.members = new Document(app.live, "/v1/members", MEMBERS);
    this.levels = new Document(app.live, "/v1/cluster/level", ["member-joined", "member-left", "member-retired"]);
    this.seen = new Document(app.live, "/v1/members/reach", ["node", "member-joined", "member-left", "member-retired"]);
    for (const each of [app.nodes, this.members, this.levels]) each.on("changed", () => this.#paint());
    this.seen.on("changed", (document) => this.reach.update(document));
    this.levels.ask();
    this.#paint();
  }

  show({ node = "" }) {
    const first = !this.#visible;
    this.#visible = true;
    if (node && !this.#open.has(node)) {
      this.#open.add(node);
      this.#paint();
      this.#cards.get(node)?.element.scrollIntoView({ block: "nearest" });
    }
    if (!first) return;
    for (const card of this.#cards.values()) card.active = true;
    this.#ask();
  }

  hide() {
    this.#visible = false;
    clearTimeout(this.#timer);
    for (const card of this.#cards.values()) card.active = false;
  }

  async #ask() {
    clearTimeout(this.#timer);
    const begun = performance.now();
    if (this.#app.live.connected && !document.hidden) await Promise.all([this.#app.nodes.ask(), this.members.ask(), this.seen.ask()]);
    if (!this.#visible) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), Math.max(EVERY_MS, REST * (performance.now() - begun)));
  }

  #paint() {
    const nodes = [...(this.#app.nodes.value?.nodes ?? [])].sort((a, b) => compare(a.node, b.node));
    if (!nodes.length) return;
    const members = new Map((this.members.value?.members ?? []).map((member) => [member.name, member]));
    const levels = new Map((this.levels.value?.members ?? []).map(({ name, level }) => [name, level]));
    keyed(this.list, nodes, ({ node }) => node,
      ({ node }) => {
        const card = new NodeCard(this.#app, node, (name, open) => this.#toggle(name, open));
        card.active = this.#visible;
        this.#cards.set(node, card);
        return card.element;
      },
      (_, node) => {
        const card = this.#cards.get(node.node);
        card.update(node, members.get(node.node) ?? null, levels.get(node.node) ?? null);
        card.open = this.#open.has(node.node);
      });
    const there = new Set(nodes.map(({ node }) => node));
    for (const [name, card] of this.#cards) {
      if (there.has(name)) continue;
      card.close();
      this.#cards.delete(name);
    }
    this.list.hidden = false;
    const online = nodes.filter(({ state }) => state === "online").length;
    const away = nodes.filter(({ maintenance }) => maintenance).length;
    text(this.summary, [t("nodes.summary", { n: nodes.length, online }), away ? t("nodes.summary-maintenance", { n: away }) : ""].filter(Boolean).join(" · "));
    attr(this.list, "data-count", nodes.length);
  }

  #toggle(name, open) {
    if (open) this.#open.add(name);
    else this.#open.delete(name);
    this.#cards.get(name).open = open;
    this.#app.setParameters({ node: open ? name : "" });
  }
}
