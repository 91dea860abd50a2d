// History: who changed what and why, newest first; how far the newest change has come; undoing one.

import { get, segment } from "../api.js";
import { attr, button, freshId, h, keyed, named, text } from "../dom.js";
import { Entry } from "../history/entry.js";
import { forHosts, keyName, short, summary } from "../history/keys.js";
import { Rollout } from "../history/rollout.js";
import { paced, serially } from "../live.js";
import { lunNames } from "../names.js";
import { compare, t, time } from "../strings.js";

const PAGE = 50;
const MOST = 1000;
const LEAST_GAP_MS = 300;
const TYPING_MS = 150;
const EVENTS = ["edit", "late-edit", "conflict-opened", "conflict-resolved", "member-retired", "snapshot-taken", "resumed", "gap"];

export function mount(root, app) {
  return new History(root, app);
}

class History {
  #app;
  #names;
  #key = "";
  /** What author, reason, keys or time of an edit must hold, in lower case. */
  #words = "";
  #typing = 0;
  #linked = null;
  /** An edit that is older than all that are listed, and stands above them because the address names it. */
  #above = null;
  #entries = [];
  #next = null;
  #views = new Map();
  #open = new Set();
  #visible = false;
  #loaded = false;

  constructor(root, app) {
    this.#app = app;
    this.#names = lunNames(app);
    this.#build(root);
    this.load = serially(() => this.#load(), (fault) => this.#refused(fault), () => this.#visible);
    // Many edits may come at once, and each answer holds them all.
    const soon = paced(() => this.#visible && this.load(), LEAST_GAP_MS);
    for (const kind of EVENTS) app.live.on(kind, soon);
    this.#names.on("changed", () => this.#paint());
  }

  show({ key = "", edit = "", q = "" }) {
    const moved = key !== this.#key;
    this.#key = key;
    this.#words = q.trim().toLowerCase();
    if (document.activeElement !== this.search) this.search.value = key;
    if (document.activeElement !== this.text) this.text.value = q;
    this.reset.hidden = !key && !q;
    if (edit) this.#open.add(edit);
    this.#linked = edit || null;
    if (moved) {
      this.#entries = [];
      this.#next = null;
    }
    this.#visible = true;
    for (const view of this.#views.values()) view.active = true;
    this.newest.active = true;
    this.load().then(() => edit && this.#views.get(edit)?.element.scrollIntoView({ block: "nearest" }));
  }

  hide() {
    this.#visible = false;
    for (const view of this.#views.values()) view.active = false;
    this.newest.active = false;
  }

  // -- the parts -------------------------------------------------------------------------------------------------------

  #build(root) {
    root.classList.add("history");
    this.summary = h("p", { class: "muted", role: "status" }, t("history.loading"));
    this.newest = new Rollout(this.#app);
    this.newestWhat = h("a", { href: "#/history" }, "");
    this.card = h("section", { class: "card newest", "aria-label": t("history.newest"), hidden: true },
      h("h2", {}, t("history.newest")), h("p", { class: "newest-what" }, this.newestWhat), this.newest.element);
    const list = freshId("keys");
    this.keys = h("datalist", { id: list });
    this.search = h("input", { type: "search", class: "search", list, placeholder: t("history.search"), "aria-label": t("history.search"), autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("change", () => this.#ask(this.search.value.trim()));
    this.text = h("input", { type: "search", class: "search", placeholder: t("history.text"), "aria-label": t("history.text"), autocomplete: "off", spellcheck: "false" });
    this.text.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#seek(), TYPING_MS);
    });
    this.reset = button(t("history.reset"), () => this.#clear(), { class: "quiet", hidden: true });
    this.fault = h("p", { class: "fault", role: "alert", hidden: true });
    const form = h("form", { class: "row-of-controls", role: "search", "aria-label": t("history.filters") }, this.search, this.keys, this.text, this.reset);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(this.search.value.trim());
    });
    this.list = h("ol", { class: "card openable", "aria-label": t("history.list"), hidden: true });
    this.more = button(t("history.older"), () => this.#older(), { hidden: true });
    root.append(h("div", { class: "panel-head" }, h("h1", {}, t("history.title")), this.summary), this.card, form, this.fault, this.list, h("div", { class: "row-of-controls" }, this.more));
  }

  #ask(key) {
    if (key !== this.#key) this.#app.go("history", { key, q: this.text.value });
  }

  /** What is sought is sought in as many edits as are listed at most. */
  #seek() {
    clearTimeout(this.#typing);
    const words = this.text.value.trim().toLowerCase();
    if (words === this.#words) return;
    this.#words = words;
    this.reset.hidden = !this.#key && !words;
    this.#app.setParameters({ key: this.#key, q: this.text.value });
    this.#paint();
    if (words) this.load();
  }

  #clear() {
    this.text.value = "";
    this.#seek();
    this.search.value = "";
    this.#ask("");
    this.search.focus();
  }

  #fits(entry) {
    if (!this.#words || entry.edit === this.#linked) return true;
    const { edit, author, reason, keys, wall } = entry;
    const hay = [edit, author, reason, summary(entry, this.#names), ...keys, wall, time(wall)].join("\n").toLowerCase();
    return this.#words.split(/\s+/).every((word) => hay.includes(word));
  }

  // -- what comes ------------------------------------------------------------------------------------------------------

  async #load() {
    const key = this.#key;
    const most = this.#words ? MOST : Math.min(MOST, Math.max(PAGE, this.#entries.length));
    const answer = await get(`/v1/history?${new URLSearchParams({ limit: most, ...(key && { key }) })}`);
    if (key !== this.#key) {
      this.load();
      return;
    }
    const linked = this.#linked;
    if (linked !== null && !answer.edits.some(({ edit }) => edit === linked)) {
      const whole = await get(`/v1/history/${segment(linked)}`);
      this.#open.add(whole.edit);
      if (!answer.edits.some(({ edit }) => edit === whole.edit) && linked === this.#linked) {
        answer.edits.unshift(whole);
        this.#above = whole.edit;
      }
    }
    this.fault.hidden = true;
    this.#merge(answer);
    this.#loaded = true;
    this.#paint();
  }

  /** What was loaded of older pages stays below what came now. */
  #merge({ edits, next }) {
    const last = edits.at(-1)?.edit;
    const at = this.#entries.findIndex(({ edit }) => edit === last);
    const there = new Set(edits.map(({ edit }) => edit));
    const older = next === null || at < 0 ? [] : this.#entries.slice(at + 1).filter(({ edit }) => !there.has(edit));
    if (!older.length) this.#next = next;
    this.#entries = [...edits, ...older];
  }

  async #older() {
    this.more.disabled = true;
    try {
      const key = this.#key;
      const answer = await get(`/v1/history?${new URLSearchParams({ limit: PAGE, cursor: this.#next, ...(key && { key }) })}`);
      if (key !== this.#key) return;
      const there = new Set(this.#entries.map(({ edit }) => edit));
      this.#entries = [...this.#entries, ...answer.edits.filter(({ edit }) => !there.has(edit))];
      this.#next = answer.next;
      this.#paint();
    } catch (fault) {
      this.#app.failed(fault);
    } finally {
      this.more.disabled = false;
    }
  }

  /** A key or an edit that nobody knows is told at the filter, and not only for a moment. */
  #refused(fault) {
    if (!["not-found", "ambiguous-edit", "history-gone"].includes(fault.code)) return this.#app.failed(fault);
    this.#linked = null;
    text(this.fault, [fault.message, fault.hint].filter(Boolean).join(" · "));
    this.fault.hidden = false;
    this.#loaded = true;
    this.#paint();
  }

  #paint() {
    if (!this.#loaded) return;
    const shown = this.#entries.filter((entry) => this.#fits(entry));
    keyed(this.list, shown, ({ edit }) => edit,
      (entry) => {
        const view = new Entry(this.#app, this.#names, entry, (edit, open) => this.#toggle(edit, open));
        this.#views.set(entry.edit, view);
        return view.element;
      },
      (_, entry) => {
        const view = this.#views.get(entry.edit);
        view.update(entry);
        view.open = this.#open.has(entry.edit);
      });
    const there = new Set(shown.map(({ edit }) => edit));
    for (const [edit, view] of this.#views) {
      if (there.has(edit)) continue;
      view.close();
      this.#views.delete(edit);
    }
    this.list.hidden = shown.length === 0;
    this.more.hidden = this.#next === null;
    const parts = [t(this.#next === null ? "history.summary" : "history.summary-more", { n: this.#entries.length })];
    if (this.#words) parts.push(t("history.found", { n: shown.length }));
    text(this.summary, parts.join(" · "));
    this.#paintKeys();
    this.#paintNewest();
  }

  #paintKeys() {
    const keys = [...new Set(this.#entries.flatMap((entry) => entry.keys))].sort(compare);
    keyed(this.keys, keys, (key) => key, (key) => h("option", { value: key }), (option, key) => attr(option, "label", keyName(key, this.#names)));
  }

  /** The newest edit that concerns hosts, unless only some edits are shown. */
  #paintNewest() {
    const found = this.#key || this.#words ? undefined : this.#entries.find(({ edit, keys }) => edit !== this.#above && keys.some(forHosts));
    this.card.hidden = found === undefined;
    if (found === undefined) return;
    this.newest.edit = found.edit;
    attr(this.newestWhat, "href", this.#app.address("history", { edit: found.edit }));
    text(this.newestWhat, t("history.newest-what", { what: summary(found, this.#names), author: found.author, edit: short(found.edit) }));
  }

  #toggle(edit, open) {
    if (open) this.#open.add(edit);
    else this.#open.delete(edit);
    const view = this.#views.get(edit);
    if (view) view.open = open;
    this.#linked = null;
    this.#app.setParameters({ key: this.#key, q: this.text.value, edit: open ? edit : "" });
  }
}
