// Events: what happened, newest first, as it happens; by kind, node, object and text.

import { attr, button, freshId, h, keyed, named, text, visible } from "../dom.js";
import { EventLog } from "../events/log.js";
import { filters, fits, formatQuery, GROUPS, lookOf, nodeOf, objectsOf, parseQuery } from "../events/query.js";
import { wordsOf } from "../events/words.js";
import { keyName, short } from "../history/keys.js";
import { lunNames } from "../names.js";
import { compare, number, t, time, tOr } from "../strings.js";

const PAGE = 100;
const TYPING_MS = 150;
const LINKS = 4;

export function mount(root, app) {
  return new Events(root, app);
}

class Events {
  #app;
  #names;
  #log;
  #query = parseQuery({});
  #shown = PAGE;
  #visible = false;
  #typing = 0;
  /** The cursor of the newest event that is shown while the list is held; null while it follows. */
  #held = null;

  constructor(root, app) {
    this.#app = app;
    this.#names = lunNames(app);
    this.#log = new EventLog(app.live, (fault) => app.failed(fault));
    this.#build(root);
    this.#log.on("changed", () => this.#paint());
    this.#log.on("read", () => this.#search());
    this.#names.on("changed", () => this.#paint());
    app.nodes.on("changed", () => this.#nodes());
    app.live.on("resumed", () => this.#log.load());
    app.live.on("gap", ({ since, next }) => {
      if (next <= since) this.#log.forget(); // the agent's log is another one: its database was made anew
      this.#log.load();
    });
    this.#log.load();
  }

  show(parameters) {
    this.#visible = true;
    this.#query = parseQuery(parameters);
    this.#shown = PAGE;
    this.#controls();
    this.#paint();
    this.#search();
  }

  hide() {
    this.#visible = false;
  }

  // -- the parts -------------------------------------------------------------------------------------------------------

  #build(root) {
    root.classList.add("events");
    this.summary = h("p", { class: "muted", role: "status" }, t("events.loading"));
    this.kind = h("select", { "aria-label": t("events.kind") }, h("option", { value: "" }, t("events.any-kind")),
      Object.entries(GROUPS).map(([group, kinds]) => h("optgroup", { label: t(`events.group.${group}`) },
        h("option", { value: group }, t(`events.all.${group}`)),
        kinds.map((kind) => h("option", { value: kind }, t(`events.kind.${kind}`))))));
    this.kind.addEventListener("change", () => this.#ask({ kind: this.kind.value }));
    this.node = h("select", { "aria-label": t("events.node") });
    this.node.addEventListener("change", () => this.#ask({ node: this.node.value }));
    const list = freshId("objects");
    this.objects = h("datalist", { id: list });
    this.object = this.#typed("object", t("events.object"), { list });
    this.text = this.#typed("text", t("events.text"));
    this.reset = button(t("events.reset"), () => this.#ask(parseQuery({})), { class: "quiet", hidden: true });
    this.hold = button(t("events.hold"), () => this.#hold(), { "aria-pressed": "false" });
    this.empty = h("p", { class: "empty muted", hidden: true });
    this.list = h("ol", { class: "card event-list", "aria-label": t("events.list"), hidden: true });
    this.more = button(t("events.older"), () => this.#older(), { hidden: true });
    root.append(
      h("div", { class: "panel-head" }, h("h1", {}, t("events.title")), this.summary),
      h("div", { class: "row-of-controls", role: "search", "aria-label": t("events.filters") }, this.kind, this.node, this.object, this.objects, this.text, this.reset, this.hold),
      this.empty, this.list, h("div", { class: "row-of-controls" }, this.more));
    this.#nodes();
  }

  #typed(name, label, more = {}) {
    const input = h("input", { type: "search", class: "search", placeholder: label, "aria-label": label, autocomplete: "off", spellcheck: "false", ...more });
    input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#ask({ object: this.object.value, text: this.text.value }), TYPING_MS);
    });
    return input;
  }

  #controls() {
    const { kind, node, object, text: words } = this.#query;
    this.kind.value = kind;
    if (this.kind.selectedIndex < 0) this.kind.value = "";
    this.#nodes();
    this.node.value = node;
    if (document.activeElement !== this.object) this.object.value = object;
    if (document.activeElement !== this.text) this.text.value = words;
    this.reset.hidden = !filters(this.#query);
  }

  /** The nodes to choose from: the members, and what the address asks for. */
  #nodes() {
    const names = [...new Set([...(this.#app.nodes.value?.nodes ?? []).map(({ node }) => node), ...(this.#query.node ? [this.#query.node] : [])])].sort(compare);
    keyed(this.node, ["", ...names.map((name) => `=${name}`)], (name) => name, (name) => h("option", { value: name.slice(1) }, name ? name.slice(1) : t("events.any-node")));
  }

  // -- what is asked for -----------------------------------------------------------------------------------------------

  #ask(change) {
    clearTimeout(this.#typing);
    this.#query = { ...this.#query, ...change };
    this.#app.setParameters(formatQuery(this.#query));
    this.#shown = PAGE;
    this.#controls();
    if (!filters(this.#query)) this.object.value = this.text.value = "";
    this.#paint();
    this.#search();
  }

  /** What is sought is sought in all that the agent keeps. */
  #search() {
    if (this.#visible && filters(this.#query) && this.#log.loaded) this.#log.loadAll();
  }

  #older() {
    this.#shown += PAGE;
    this.#paint();
    if (this.list.childElementCount < this.#shown) this.#log.loadAll();
  }

  #hold() {
    this.#held = this.#held === null ? Math.max(0, ...this.#log.keys()) : null;
    attr(this.hold, "aria-pressed", this.#held === null ? "false" : "true");
    this.#paint();
  }

  // -- what is shown ---------------------------------------------------------------------------------------------------

  #paint() {
    if (!this.#visible || !this.#log.loaded) return;
    const all = this.#log.list();
    const fit = fits(this.#query, (wwid) => this.#names.of(wwid), (event) => wordsOf(event, this.#names).words);
    const found = all.filter(fit);
    const shown = this.#held === null ? found : found.filter(({ cursor }) => cursor <= this.#held);
    const waiting = found.length - shown.length;
    keyed(this.list, shown.slice(0, this.#shown), ({ cursor }) => cursor, (event) => this.#line(event), (line, event) => this.#name(line, event));
    this.list.hidden = shown.length === 0;
    this.empty.hidden = shown.length > 0;
    text(this.empty, t(this.#log.reading ? "events.searching" : filters(this.#query) ? "events.none-fits" : "events.none"));
    this.more.hidden = shown.length <= this.#shown && this.#log.whole;
    this.more.disabled = this.#log.reading;
    text(this.hold, this.#held === null ? t("events.hold") : waiting ? t("events.go-on-new", { n: waiting }) : t("events.go-on"));
    const parts = [t(this.#log.whole ? "events.summary" : "events.summary-newest", { n: all.length })];
    if (filters(this.#query)) parts.push(t("events.found", { n: found.length }));
    if (this.#log.reading) parts.push(t("events.searching"));
    text(this.summary, parts.join(" · "));
    this.#suggest(all);
  }

  /** LUNs and keys that something happened to lately. */
  #suggest(all) {
    const names = new Set();
    for (const event of all.slice(0, PAGE)) for (const { type, id } of objectsOf(event)) if (type !== "edit") names.add(type === "lun" ? this.#names.of(id) : id);
    keyed(this.objects, [...names].sort(compare), (name) => name, (name) => h("option", { value: name }));
  }

  /** An event never changes, so its line does not, but for what the things that it is about are called. */
  #line(event) {
    const look = lookOf(event);
    const node = nodeOf(event);
    const objects = objectsOf(event);
    return h("li", { class: "event", "data-cursor": event.cursor, "data-kind": event.kind },
      h("time", { class: "when muted", datetime: event.at, title: event.at }, time(event.at)),
      h("span", { class: "state event-kind", "data-state": look }, h("span", { class: "mark", "data-state": look, "aria-hidden": "true" }), named(tOr(`events.kind.${event.kind}`, event.kind))),
      h("span", { class: "event-what" }, named("", { title: visible(event.message ?? "") })),
      h("span", { class: "event-links" }, node ? this.#link("nodes", { node }, node) : null, objects.slice(0, LINKS).map((object) => this.#objectLink(object)),
        objects.length > LINKS || event.more_keys > 0 ? h("span", { class: "muted" }, `+${number(Math.max(0, objects.length - LINKS) + (event.more_keys ?? 0))}`) : null));
  }

  #objectLink({ type, id }) {
    if (type === "lun") return this.#link("multipath", { q: id }, "", { "data-object": "" });
    return this.#link("history", type === "edit" ? { edit: id } : { key: id }, "", { "data-object": "" });
  }

  /** Call what an event is about as it is called now. */
  #name(line, event) {
    const what = line.querySelector(".event-what").firstElementChild;
    const { words, ours } = wordsOf(event, this.#names);
    text(what, words);
    attr(what, "lang", ours ? null : "en");
    const objects = objectsOf(event);
    line.querySelectorAll("[data-object]").forEach((link, index) => {
      const { type, id } = objects[index];
      text(link.firstElementChild, type === "lun" ? this.#names.of(id) : type === "edit" ? short(id) : keyName(id, this.#names));
    });
  }

  #link(panel, parameters, label, attributes = {}) {
    return h("a", { href: this.#app.address(panel, parameters), ...attributes }, named(label));
  }
}
