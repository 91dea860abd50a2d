// One node in the list: how it fares; opened, its facts, what its apply says, its maintenance and its maps.

import { attr, button, fill, freshId, h, keyed, mark, named, text } from "../dom.js";
import { CELL_STATES } from "../multipath/query.js";
import { stateWord } from "../multipath/cells.js";
import { ago, number, t, time, tOr } from "../strings.js";
import { Maintenance, maintenanceText } from "./maintenance.js";
import { Maps } from "./maps.js";

const OLD_SECONDS = 5;
const APPLY_LOOK = { "in-sync": "healthy", pending: "pending", failed: "failed", teardown: "pending", "not-applicable": "absent" };
const DAEMON_LOOK = { running: "healthy", "not-installed": "absent", unknown: "unknown" };

export class NodeCard {
  #app;
  #name;
  #node = null;
  #member = null;
  #level = null;
  #maps = null;
  #active = true;

  /** `toggled(name, open)` is called when it is opened or closed by hand. */
  constructor(app, name, toggled) {
    this.#app = app;
    this.#name = name;
    const id = freshId("node");
    this.opener = button("", () => toggled(name, this.detail.hidden), { class: "opener", "aria-expanded": "false", "aria-controls": id });
    this.state = stateBox();
    this.role = h("span", { class: "muted role" });
    this.badge = h("span", { class: "badge", hidden: true }, t("nodes.maintenance"));
    this.daemon = stateBox();
    this.apply = stateBox();
    this.luns = h("span", { class: "tallies" });
    this.opener.append(h("span", { class: "words" }, named(name, { class: "node-title" }), h("span", { class: "row" }, this.state, this.role, this.badge)),
      labelled(t("nodes.column.daemon"), this.daemon), labelled(t("nodes.column.apply"), this.apply), labelled(t("nodes.column.luns"), this.luns));
    this.errors = h("ul", { class: "problems", "aria-label": t("nodes.errors"), hidden: true });
    this.maintenance = new Maintenance(app, name);
    this.facts = h("dl", { class: "facts" });
    this.detail = h("div", { class: "opened", id, hidden: true }, this.maintenance.element, this.errors, this.facts);
    this.element = h("li", { class: "node", "data-node": name }, this.opener, this.detail);
  }

  get open() {
    return !this.detail.hidden;
  }

  set open(open) {
    if (open === this.open) return;
    this.detail.hidden = !open;
    attr(this.opener, "aria-expanded", open ? "true" : "false");
    if (open && this.#maps === null) {
      this.#maps = new Maps(this.#app, this.#name);
      this.detail.append(this.#maps.element);
    }
    if (open) this.#paintOpen();
    this.#tell();
  }

  /** Whether the panel is seen. */
  set active(active) {
    this.#active = active;
    this.#tell();
  }

  #tell() {
    if (this.#maps !== null) this.#maps.active = this.open && this.#active;
  }

  close() {
    this.#maps?.close();
  }

  /** `node` of /v1/nodes, `member` of /v1/members and `level`, both null as long as they are not known. */
  update(node, member, level) {
    this.#node = node;
    this.#member = member;
    this.#level = level;
    const old = node.state !== "online" && node.age_seconds !== null;
    paintState(this.state, node.state, tOr(`node.${node.state}`, node.state) + (old ? ` · ${t("nodes.heard", { age: ago(node.age_seconds) })}` : ""));
    text(this.role, tOr(`nodes.role.${node.role}`, node.role));
    this.badge.hidden = !node.maintenance;
    attr(this.badge, "title", maintenanceText(member?.maintenance) || null);
    const heard = isHeard(node);
    paintState(this.daemon, heard ? DAEMON_LOOK[node.daemon] ?? "failed" : "unknown", daemonWords(node) + (node.tools_version ? ` · ${node.tools_version}` : ""));
    paintState(this.apply, heard ? APPLY_LOOK[node.apply.state] ?? "unknown" : "unknown", applyWords(node, node.apply.errors.map(({ code }) => code).join(", ")));
    const cells = CELL_STATES.filter((each) => node.cells[each] && each !== "absent");
    keyed(this.luns, cells, (each) => each, (each) => h("span", { class: "marked state", "data-state": each }), (tally, each) => text(tally, t("nodes.tally", { count: node.cells[each], state: stateWord(each) })));
    attr(this.luns, "data-none", cells.length === 0);
    if (this.open) this.#paintOpen();
  }

  #paintOpen() {
    const node = this.#node;
    const member = this.#member;
    if (node === null) return;
    this.maintenance.update(member);
    const told = [
      ...node.apply.errors.map((fault) => ({ ...fault, state: "failed" })),
      ...node.apply.notes.map((fault) => ({ ...fault, state: "degraded" })),
      ...node.notes.map((code) => ({ code, message: tOr(`nodes.note.${code}`, code), hint: "", since: "", count: 1, state: "degraded" })),
    ];
    this.errors.hidden = told.length === 0;
    keyed(this.errors, told, ({ state, code, message }) => `${state} ${code} ${message}`,
      () => h("li", {}, mark(""), h("div", {}, named("", { class: "problem-title" }), named("", { class: "problem-hint" })), h("span", { class: "muted" })),
      (item, fault) => {
        const [shape, words, when] = item.children;
        for (const element of [item, shape]) attr(element, "data-state", isHeard(node) ? fault.state : "unknown");
        text(words.firstElementChild, fault.message === fault.code ? fault.code : `${fault.message} (${fault.code})`);
        text(words.lastElementChild, fault.hint ? t("multipath.hint", { hint: fault.hint }) : "");
        text(when, fault.since ? t("multipath.times", { n: fault.count, since: time(fault.since) }) : "");
      });
    const { desired, applied, at } = node.apply;
    const facts = [
      ["tools", t("nodes.fact.tools"), node.tools_version ?? "–"],
      ["daemon", t("nodes.fact.daemon"), named(daemonWords(node))],
      ["apply", t("nodes.fact.apply"), named(applyWords(node, at ? time(at) : ""))],
      ["applied", t("nodes.fact.applied"), applied ? h("code", { title: applied }, applied.slice(0, 12)) : "–"],
    ];
    if (desired && desired !== applied) facts.push(["desired", t("nodes.fact.desired"), h("code", { title: desired }, desired.slice(0, 12))]);
    if (node.age_seconds > OLD_SECONDS) facts.push(["age", t("nodes.fact.age"), t("nodes.heard", { age: ago(node.age_seconds) })]);
    if (node.observed_at) facts.push(["observed", t("nodes.fact.observed"), time(node.observed_at)]);
    if (member !== null) {
      facts.push(["connected", t("nodes.fact.connected"), t(!member.connected ? "nodes.no" : isHeard(node) ? "nodes.yes" : "nodes.silent")]);
      facts.push(["endpoints", t("nodes.fact.endpoints"), member.endpoints.map((endpoint) => named(endpoint, { class: "mono" }))]);
    }
    if (this.#level !== null) facts.push(["level", t("nodes.fact.level"), number(this.#level)]);
    if (member !== null) {
      facts.push(["key", t("nodes.fact.key"), h("code", {}, member.public_key)]);
      facts.push(["actor", t("nodes.fact.actor"), h("code", {}, member.actor)]);
    }
    keyed(this.facts, facts, ([key]) => key, ([, name]) => h("div", {}, h("dt", {}, name), h("dd")), (element, [, , content]) => {
      const now = [content].flat().map((part) => part.textContent ?? part).join(" ");
      if (element.dataset.said !== now) fill(element.lastElementChild, content);
      element.dataset.said = now;
    });
  }
}

/** Whether what the node said of itself holds now: it does no longer once it may be away. */
const isHeard = ({ state }) => state === "online";

/** What a node said, as what was known last if it is not heard; `word` is "" if it said nothing. */
function asHeard(node, word) {
  if (isHeard(node)) return word || t("nodes.unknown");
  return word ? t("nodes.unknown-last", { last: word }) : t("nodes.unknown");
}

function daemonWords(node) {
  return asHeard(node, node.daemon === "unknown" ? "" : tOr(`nodes.daemon.${node.daemon}`, node.daemon));
}

function applyWords(node, more) {
  const { state, desired, applied, at } = node.apply;
  const said = isHeard(node) || desired || applied || at; // "pending" is also what reads of a node that never told
  return asHeard(node, said ? [tOr(`nodes.apply.${state}`, state), more].filter(Boolean).join(" · ") : "");
}

function stateBox() {
  return h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), named(""));
}

function paintState(box, state, words) {
  attr(box, "data-state", state);
  attr(box.firstElementChild, "data-state", state);
  text(box.lastElementChild, words);
}

function labelled(label, content) {
  return h("span", { class: "labelled" }, h("span", { class: "label" }, label), content);
}
