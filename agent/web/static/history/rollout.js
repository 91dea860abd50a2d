// How far one edit has come, on each node, as it goes on.

import { get, segment } from "../api.js";
import { attr, fill, h, keyed, mark, named, text } from "../dom.js";
import { serially } from "../live.js";
import { compare, number, t, tOr } from "../strings.js";

const FIRST_MS = 500;
const MOST_MS = 5000;
const EVENTS = ["apply", "node", "member-joined", "member-left", "member-retired", "state", "resumed", "gap"];
/** Where nodes can stand, what needs somebody's eye first, and the look of each. */
const LOOK = { failed: "failed", unknown: "unknown", waiting: "pending", committed: "pending", applied: "healthy", "not-applicable": "absent" };
const STATES = Object.keys(LOOK);
const MOST_NODES = 64;

/** Whether more is to come of a node that no event tells. One that is not heard tells of itself when it is. */
const goesOn = ({ state, reporter }, hosts) => reporter === "fresh" && (["waiting", "unknown"].includes(state) || (hosts && state === "committed"));

/**
 * The view of one edit's rollout. It asks for as long as it is active and the page is seen: again and again while a node goes on, ever less
 * often if nothing comes of it, and when something happens.
 */
export class Rollout {
  #app;
  #edit = null;
  #active = false;
  #timer = 0;
  #wait = FIRST_MS;
  #said = "";
  #ends;
  #ask;

  constructor(app) {
    this.#app = app;
    this.state = h("p", { class: "rollout-sum" });
    this.bar = h("div", { class: "rollout-bar", "aria-hidden": "true" });
    this.nodes = h("ul", { class: "rollout-nodes", "aria-label": t("history.rollout.nodes") });
    this.more = h("p", { class: "muted", hidden: true });
    this.element = h("div", { class: "rollout", hidden: true }, this.state, this.bar, this.nodes, this.more);
    this.#ask = serially(() => this.#load(), (fault) => app.failed(fault), () => this.#active);
    this.#ends = EVENTS.map((kind) => app.live.on(kind, () => this.#anew()));
  }

  /** Show this edit's. */
  set edit(edit) {
    if (edit === this.#edit) return;
    this.#edit = edit;
    this.#anew();
  }

  /** Whether anybody looks. */
  set active(active) {
    this.#active = active;
    clearTimeout(this.#timer);
    this.#anew();
  }

  close() {
    this.active = false;
    for (const end of this.#ends) end();
  }

  #anew() {
    this.#wait = FIRST_MS;
    this.#again();
  }

  #again() {
    if (this.#active && this.#edit !== null && !document.hidden) this.#ask();
  }

  async #load() {
    const edit = this.#edit;
    const found = await get(`/v1/rollout/${segment(edit)}`);
    if (edit !== this.#edit) return;
    this.#paint(found);
    clearTimeout(this.#timer);
    const said = JSON.stringify(found.counts);
    this.#wait = said === this.#said ? Math.min(2 * this.#wait, MOST_MS) : FIRST_MS;
    this.#said = said;
    if (this.#active && found.nodes.some((node) => goesOn(node, found.hosts))) this.#timer = setTimeout(() => this.#again(), this.#wait);
  }

  #paint({ nodes, counts, hosts, done }) {
    this.element.hidden = false;
    const reached = hosts ? counts.applied + counts["not-applicable"] : counts.committed;
    const look = counts.failed ? "failed" : done ? "healthy" : counts.unknown && reached + counts.unknown === nodes.length ? "unknown" : "pending";
    const said = t(hosts ? "history.rollout.sum-applied" : "history.rollout.sum-committed", { done: reached, n: nodes.length });
    if (this.state.dataset.said !== look + said) fill(this.state, h("span", { class: "state", "data-state": look }, mark(look), said));
    this.state.dataset.said = look + said;
    const parts = STATES.filter((state) => counts[state] > 0).reverse();
    keyed(this.bar, parts, (state) => state, (state) => h("span", { "data-state": hosts || state !== "committed" ? LOOK[state] : "healthy" }), (part, state) => {
      part.style.flexGrow = counts[state];
    });
    const listed = [...nodes].sort((a, b) => (nodes.length > MOST_NODES ? STATES.indexOf(a.state) - STATES.indexOf(b.state) : 0) || compare(a.node, b.node));
    keyed(this.nodes, listed.slice(0, MOST_NODES), ({ node }) => node,
      ({ node }) => h("li", {}, h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" })), named(node, { class: "strong" }), h("span"), named("", { class: "muted" })),
      (item, node) => {
        const [state, , word, why] = item.children;
        const shown = !hosts && node.state === "committed" ? "healthy" : LOOK[node.state] ?? "unknown";
        attr(item, "data-rollout", node.state);
        attr(state, "data-state", shown);
        attr(state.firstElementChild, "data-state", shown);
        text(word, !hosts && node.state === "committed" ? t("history.rollout.held") : tOr(`history.rollout.${node.state}`, node.state));
        text(why, node.message ? `${node.message}${node.code ? ` (${node.code})` : ""}` : "");
      });
    this.more.hidden = nodes.length <= MOST_NODES;
    text(this.more, t("history.rollout.more", { n: Math.max(0, nodes.length - MOST_NODES) }));
    attr(this.element, "data-done", done);
    attr(this.bar, "title", STATES.filter((state) => counts[state]).map((state) => `${tOr(`history.rollout.${state}`, state)}: ${number(counts[state])}`).join(", "));
  }
}
