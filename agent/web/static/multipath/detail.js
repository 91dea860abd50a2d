// An open row: what the LUN is, and its paths on each node, grouped by the node's port. A path that is expected and not there stands in its
// place among the others.

import { get, segment, write } from "../api.js";
import { attr, button, dialog, fill, freshId, h, keyed, mark, named, text } from "../dom.js";
import { serially } from "../live.js";
import { ago, compare, size, t, time, tOr } from "../strings.js";
import { reasonText, stateWord } from "./cells.js";

const QUIET = { chk: new Set(["ready", "ghost", "up"]), dm: new Set(["active"]), dev_state: new Set(["running", "live"]) };
const OLD_SECONDS = 5;

/** The two ends of a path by its identity: `transport:port>target`. What has no such form is all target. */
export function endsOf(id) {
  const colon = id.indexOf(":");
  const arrow = id.indexOf(">");
  if (colon < 0 || arrow < colon) return { transport: "", port: "", target: id };
  return { transport: id.slice(0, colon), port: id.slice(colon + 1, arrow), target: id.slice(arrow + 1) };
}

/** A node's paths by port, lost ones among them. */
export function portsOf(cell) {
  const groups = cell.path_groups ?? [];
  const there = groups.flatMap(({ group, paths }) => paths.map((path) => ({ ...path, group: groups.length > 1 ? group : null })));
  const ids = new Set(there.map(({ id }) => id));
  const lost = (cell.missing_paths ?? []).filter((id) => !ids.has(id)).map((id) => ({ id, class: "lost" }));
  const ports = new Map();
  for (const path of [...there, ...lost]) {
    const ends = endsOf(String(path.id ?? ""));
    const key = `${ends.transport}:${ends.port}`;
    if (!ports.has(key)) ports.set(key, { key, ...ends, paths: [] });
    ports.get(key).paths.push({ ...path, target: ends.target });
  }
  for (const port of ports.values()) port.paths.sort((a, b) => compare(a.target, b.target));
  return [...ports.values()].sort((a, b) => compare(a.key, b.key));
}

/** The content of an open row. */
export class Detail {
  #app;
  #row;
  #cells = new Map();
  #closed = false;

  constructor(app, row) {
    this.#app = app;
    this.#row = row;
    const id = freshId("lun");
    this.title = named("", { id });
    this.facts = h("dl", { class: "facts" });
    this.all = button(t("multipath.accept-all"), () => this.#accept(null), { class: "small", hidden: true });
    this.nodes = h("div", { class: "node-cards" }, h("p", { class: "muted" }, t("multipath.loading")));
    this.element = h("div", { class: "detail", role: "group", "aria-labelledby": id },
      h("h2", {}, this.title), h("div", { class: "detail-head" }, this.facts, this.all), this.nodes);
    this.load = serially(() => this.#load(), (fault) => this.#closed || app.failed(fault));
    this.update(row);
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
  }

  async #load() {
    const { nodes } = await get(`/v1/luns/${segment(this.#row.id)}/paths`);
    if (this.#closed) return;
    const items = Object.entries(nodes).map(([node, cell]) => ({ node, cell })).sort((a, b) => compare(a.node, b.node));
    this.#cells = new Map(items.map(({ node, cell }) => [node, cell]));
    if (this.nodes.firstElementChild?.localName === "p") this.nodes.replaceChildren();
    keyed(this.nodes, items, ({ node }) => node, ({ node }) => this.#card(node), (element, { node, cell }) => this.#paint(element, node, cell));
    if (!items.length) fill(this.nodes, h("p", { class: "muted" }, t("multipath.no-paths")));
    this.all.hidden = items.filter(({ cell }) => this.#acceptable(cell)).length < 2;
  }

  #acceptable(cell) {
    return this.#app.me?.may_write !== false && cell.state !== "unknown" && this.#row.configured
      && ((cell.missing_paths ?? []).length > 0 || cell.reasons.includes("below-expected"));
  }

  #card(node) {
    const heading = freshId("node");
    return h("section", { class: "node-card", "aria-labelledby": heading },
      h("header", {},
        h("h3", { id: heading }, named(node)),
        h("span", { class: "state" }),
        h("span", { class: "counts muted" }),
        button(t("multipath.accept"), () => this.#accept(node), { class: "small", "aria-label": t("multipath.accept-node", { node }), hidden: true })),
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
    const known = cell.state !== "unknown";
    const words = [
      known && t(expected === null ? "multipath.paths-count" : "multipath.paths", { usable, expected }),
      known && source === "accepted" && t("multipath.expected-accepted"),
      cell.age_seconds > OLD_SECONDS && t("multipath.age", { age: ago(cell.age_seconds) }),
    ];
    text(counts, words.filter(Boolean).join(" · "));
    accept.hidden = !this.#acceptable(cell);
    const said = cell.reasons.map((code) => ({ key: code, text: reasonText(code), code }));
    if (cell.last) said.push({ key: "last", text: t("multipath.last", { state: stateWord(cell.last.state) }), code: "" });
    if (cell.state !== "healthy" && !["none", "off"].includes(cell.queueing ?? "none")) {
      said.push({ key: "queueing", text: t("multipath.queueing", { queueing: cell.queueing }), code: "" });
    }
    keyed(reasons, said, ({ key }) => key, () => h("li"), (item, { text: words, code }) => {
      text(item, words);
      attr(item, "title", code && code !== words ? code : null);
    });
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

  /** Ask, with what would be expected from then on, and take what is there as expected: on one node, or on all. */
  async #accept(node) {
    const path = `/v1/luns/${segment(this.#row.id)}/accept`;
    const nodes = node === null ? null : [node];
    const { name } = this.#row;
    try {
      const { body } = await write("POST", path, { body: { nodes }, dryRun: true });
      const reason = h("input", { type: "text", maxlength: 4096, name: "reason" });
      const done = await dialog({
        title: t("multipath.accept-title", { name }),
        content: [
          h("p", {}, t("multipath.accept-what")),
          h("ul", {}, body.accepted.map((each) => h("li", {}, t("multipath.accept-line", { node: each.node, n: each.paths.length })))),
          h("label", { class: "field" }, t("multipath.accept-reason"), reason),
        ],
        action: t("multipath.accept"),
        cancel: t("shell.cancel"),
        collect: () => ({ nodes, reason: reason.value }),
        confirm: (asked) => write("POST", path, { body: asked }),
      });
      if (done) this.#app.notice(t("multipath.accepted", { name }));
    } catch (fault) {
      this.#app.failed(fault);
    }
  }
}

export function pathLine() {
  return h("li", { class: "path" }, h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), h("span")),
    named("", { class: "target mono" }), h("span", { class: "dev mono" }), h("span", { class: "muted more" }));
}

export function paintPath(element, path) {
  const [state, target, dev, more] = element.children;
  const kind = path.class ?? "unknown";
  attr(element, "data-state", kind);
  attr(state, "data-state", kind);
  attr(state.firstElementChild, "data-state", kind);
  text(state.lastElementChild, tOr(`multipath.path.${kind}`, kind));
  text(target, path.target);
  text(dev, path.dev ?? "");
  const odd = Object.entries(QUIET).filter(([name, usual]) => path[name] && !usual.has(path[name])).map(([name]) => `${name} ${path[name]}`);
  if (path.group !== null && path.group !== undefined) odd.push(t("multipath.group", { group: path.group }));
  text(more, odd.join(", "));
}
