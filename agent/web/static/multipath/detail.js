// An open row: what the LUN is, and its paths on each node, grouped by the node's port. A path that is expected and not there stands in its
// place among the others.

import { get, segment } from "../api.js";
import { attr, button, fill, freshId, h, keyed, mark, named, text } from "../dom.js";
import { serially } from "../live.js";
import { ago, compare, size, t, time } from "../strings.js";
import { acceptable, acceptPaths } from "./accept.js";
import { stateWord } from "./cells.js";
import { isKnown, paintPath, pathLine, portsOf } from "./paths.js";
import { paintRemarks, remarksOf } from "./remarks.js";

const OLD_SECONDS = 5;
/** No event tells how old a node's word is. */
const EVERY_MS = 3000;

/** The content of an open row. */
export class Detail {
  #app;
  #row;
  #items = [];
  #readAt = 0;
  #closed = false;
  #asked = false;
  #timer = 0;
  #fault = "";

  constructor(app, row) {
    this.#app = app;
    this.#row = row;
    const id = freshId("lun");
    this.title = named("", { id });
    this.facts = h("dl", { class: "facts" });
    this.all = button(t("multipath.accept-all"), () => this.#accept(this.#forAll()), { class: "small", hidden: true });
    this.none = h("p", { class: "muted" }, t("multipath.loading"));
    this.nodes = h("div", { class: "node-cards" });
    this.element = h("div", { class: "detail", role: "group", "aria-labelledby": id },
      h("h2", {}, this.title), h("div", { class: "detail-head" }, this.facts, this.all), this.none, this.nodes);
    this.load = serially(() => this.#load(), (fault) => this.#failed(fault), () => this.#seen);
    this.update(row);
    this.#timer = setInterval(() => this.#renew(), EVERY_MS);
  }

  /** The row is another one: show it, and read the paths anew. */
  update(row) {
    this.#row = row;
    text(this.title, row.name);
    const facts = [
      [t("multipath.wwid"), [h("code", {}, row.id), button(t("multipath.copy"), () => this.#copy(), { class: "quiet small" })]],
      [t("multipath.column.array"), named(row.array || "–")],
      [t("multipath.column.size"), row.size === null ? "–" : size(row.size)],
      [t("multipath.column.storages"), named(row.storages.join(", ") || "–")],
      [t("multipath.expected-on"), named(row.expected.join(", ") || t("multipath.nobody"))],
      ["", h("span", { class: "state", "data-state": row.state }, mark(row.state), t("multipath.since", { state: stateWord(row.state), since: time(row.since) }))],
    ];
    if (row.kind !== "multipath.map") facts.splice(4, 1, ["", t("multipath.nvme")]);
    else if (!row.configured) facts.push(["", t("multipath.not-configured")]);
    keyed(this.facts, facts.map(([name, content], index) => ({ name, content, index })), ({ index }) => index,
      ({ name }) => h("div", {}, h("dt", { hidden: !name }, name), h("dd")),
      (element, { content }) => {
        const now = [content].flat().map((part) => part.textContent ?? part).join(" ");
        if (element.dataset.said !== now) fill(element.lastElementChild, content);
        element.dataset.said = now;
      });
    this.load();
  }

  close() {
    this.#closed = true;
    clearInterval(this.#timer);
  }

  /** Whether anybody looks. */
  get #seen() {
    return !this.#closed && !document.hidden && this.element.closest("[hidden]") === null;
  }

  /** While somebody looks: ask how old the nodes' words are. They grow older too when the agent does not answer. */
  async #renew() {
    if (!this.#seen) return;
    this.#paintAll();
    if (this.#asked || !this.#app.live.connected) return;
    this.#asked = true;
    await this.load();
    this.#asked = false;
  }

  async #load() {
    const { nodes } = await get(`/v1/luns/${segment(this.#row.id)}/paths`);
    if (this.#closed) return;
    this.#fault = "";
    this.#readAt = performance.now();
    this.#items = Object.entries(nodes).map(([node, cell]) => ({ node, cell })).sort((a, b) => compare(a.node, b.node));
    text(this.none, t("multipath.no-paths"));
    this.none.hidden = this.#items.length > 0;
    this.#paintAll();
  }

  /** It is asked again and again: one fault is told once. */
  #failed(fault) {
    if (this.#closed || fault.message === this.#fault) return;
    this.#fault = fault.message;
    this.#app.failed(fault);
  }

  #paintAll() {
    keyed(this.nodes, this.#items, ({ node }) => node, ({ node }) => this.#card(node), (element, { node, cell }) => this.#paint(element, node, cell));
    this.all.hidden = this.#forAll().length < 2;
  }

  #acceptable(cell) {
    return this.#app.me?.may_write !== false && this.#row.configured && acceptable(cell);
  }

  /** The nodes of "Accept on all": where the LUN is gone wholly, that is accepted for that node alone. */
  #forAll() {
    return this.#items.filter(({ cell }) => this.#acceptable(cell) && cell.paths.usable > 0).map(({ node }) => node);
  }

  #card(node) {
    const heading = freshId("node");
    return h("section", { class: "node-card", "aria-labelledby": heading },
      h("header", {},
        h("h3", { id: heading }, named(node)),
        h("span", { class: "state" }),
        h("span", { class: "counts muted" }),
        button(t("multipath.accept"), () => this.#accept([node]), { class: "small", "aria-label": t("multipath.accept-node", { node }), hidden: true })),
      h("ul", { class: "reasons" }),
      h("div", { class: "ports" }));
  }

  #paint(element, node, cell) {
    const [header, reasons, ports] = element.children;
    const [, state, counts, accept] = header.children;
    attr(state, "data-state", cell.state);
    if (state.dataset.said !== cell.state) fill(state, mark(cell.state), stateWord(cell.state));
    state.dataset.said = cell.state;
    const { usable = 0, expected = null, expected_source: source } = cell.paths ?? {};
    const known = isKnown(cell);
    const age = (cell.age_seconds ?? 0) + (performance.now() - this.#readAt) / 1000;
    const words = [
      known && t(expected === null ? "multipath.paths-count" : "multipath.paths", { usable, expected }),
      known && source === "accepted" && t("multipath.expected-accepted"),
      this.#app.nodes.value?.nodes.some((each) => each.node === node && each.maintenance) && t("multipath.node-maintenance"),
      cell.age_seconds !== null && age > OLD_SECONDS && t("multipath.age", { age: ago(age) }),
    ];
    text(counts, words.filter(Boolean).join(" · "));
    accept.hidden = !this.#acceptable(cell);
    paintRemarks(reasons, remarksOf(cell));
    keyed(ports, portsOf(cell), ({ key }) => key,
      ({ transport, port }) => h("div", { class: "port" }, h("h4", {}, port ? [h("span", { class: "muted" }, `${transport} `), named(port, { class: "mono" })] : t("multipath.port-none")), h("ul")),
      (item, { paths }) => keyed(item.lastElementChild, paths, ({ id }) => id, pathLine, paintPath));
    const none = ports.childElementCount === 0;
    element.classList.toggle("empty", none);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#row.id);
      this.#app.notice(t("multipath.copied", { text: this.#row.id }));
    } catch {
      getSelection().selectAllChildren(this.facts.querySelector("code"));
    }
  }

  async #accept(nodes) {
    const { name } = this.#row;
    try {
      if (await acceptPaths(this.#row, nodes)) this.#app.notice(t("multipath.accepted", { name }));
    } catch (fault) {
      this.#app.failed(fault);
    }
  }
}
