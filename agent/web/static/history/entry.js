// One edit in the list: who changed what, when and why; opened, what it did to each option, and how far it has come.

import { get, Problem, segment } from "../api.js";
import { attr, button, fill, freshId, h, keyed, mark, named, text } from "../dom.js";
import { serially } from "../live.js";
import { t, time, tOr } from "../strings.js";
import { diffView, optionLines } from "./diff.js";
import { actionWord, keyName, revertible, short, summary } from "./keys.js";
import { revert } from "./revert.js";
import { Rollout } from "./rollout.js";

/** The look of what became of an edit. */
const LOOK = { applied: "healthy", conflict: "degraded", superseded: "absent", partial: "absent", void: "absent" };

export class Entry {
  #app;
  #names;
  #entry;
  #whole = null;
  #said = null;
  #rollout = null;
  #active = true;
  #load;

  /** `toggled(edit, open)` is called when it is opened or closed by hand. */
  constructor(app, names, entry, toggled) {
    this.#app = app;
    this.#names = names;
    this.#entry = entry;
    const id = freshId("edit");
    this.opener = button("", () => toggled(entry.edit, this.detail.hidden), { class: "opener", "aria-expanded": "false", "aria-controls": id });
    this.what = named("", { class: "what" });
    this.why = named("", { class: "why muted" });
    this.state = h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), h("span"));
    this.late = h("span", { class: "late", hidden: true, title: t("history.late-why") }, t("history.late"));
    this.author = named("", { class: "author" });
    this.when = h("time", { class: "when muted" });
    this.opener.append(h("span", { class: "words" }, this.what, this.why), this.late, this.state, this.author, this.when);
    this.facts = h("dl", { class: "facts" });
    this.undo = button(t("history.revert.action"), () => this.#revert(), { class: "small", hidden: true });
    this.fault = h("p", { class: "fault", role: "alert", hidden: true });
    this.changes = h("div", { class: "changes" });
    this.come = h("div", {});
    this.detail = h("div", { class: "opened", id, hidden: true }, h("div", { class: "opened-head" }, this.facts, this.undo), this.fault, this.changes, this.come);
    this.element = h("li", { class: "entry", "data-edit": entry.edit }, this.opener, this.detail);
    this.#load = serially(async () => {
      this.#whole = await get(`/v1/history/${segment(this.#entry.edit)}`);
      this.#paintOpen();
    }, (fault) => app.failed(fault), () => this.open && this.#active);
  }

  get open() {
    return !this.detail.hidden;
  }

  set open(open) {
    if (open === this.open) return;
    this.detail.hidden = !open;
    attr(this.opener, "aria-expanded", open ? "true" : "false");
    if (open && this.#rollout === null) {
      this.#rollout = new Rollout(this.#app);
      this.#rollout.edit = this.#entry.edit;
      this.come.append(h("h2", {}, t("history.rollout.title")), this.#rollout.element);
    }
    if (open) {
      this.#paintOpen();
      this.#load();
    }
    this.#tell();
  }

  /** Whether the panel is seen. */
  set active(active) {
    this.#active = active;
    this.#tell();
  }

  #tell() {
    if (this.#rollout !== null) this.#rollout.active = this.open && this.#active;
  }

  close() {
    this.#rollout?.close();
  }

  /** The entry as the agent tells it now. */
  update(entry) {
    const said = JSON.stringify(entry);
    const moved = said !== this.#said;
    this.#said = said;
    this.#entry = entry;
    text(this.what, summary(entry, this.#names));
    text(this.why, entry.reason);
    this.why.hidden = !entry.reason;
    const look = LOOK[entry.state] ?? "absent";
    attr(this.state, "data-state", look);
    attr(this.state.firstElementChild, "data-state", look);
    text(this.state.lastElementChild, tOr(`history.state.${entry.state}`, entry.state));
    attr(this.state, "title", tOr(`history.state-why.${entry.state}`, "") || null);
    this.late.hidden = !entry.late;
    text(this.author, entry.author);
    text(this.when, time(entry.wall));
    attr(this.when, "datetime", entry.wall);
    if (moved && this.open) this.#load();
  }

  #paintOpen() {
    const entry = this.#whole ?? this.#entry;
    this.undo.hidden = this.#app.me?.may_write === false || entry.state === "void" || !revertible(entry.keys);
    const facts = [
      ["edit", t("history.edit"), h("code", {}, entry.edit)],
      ["author", t("history.author"), named(entry.author)],
      ["wall", t("history.wall"), time(entry.wall)],
    ];
    if (entry.kind !== "change") facts.push(["kind", t("history.kind"), named(tOr(`history.kind.${entry.kind}`, entry.kind))]);
    if (entry.concurrent_with.length) facts.push(["concurrent", t("history.concurrent"), entry.concurrent_with.map((other) => this.#link(other))]);
    keyed(this.facts, facts, ([key]) => key, ([, name]) => h("div", {}, h("dt", {}, name), h("dd")), (element, [, , content]) => {
      const now = [content].flat().map((part) => part.textContent ?? part).join(" ");
      if (element.dataset.said !== now) fill(element.lastElementChild, content);
      element.dataset.said = now;
    });
    keyed(this.changes, entry.changes, ({ key }) => key,
      () => h("section", { class: "change" }, h("header", {}, h("h2"), h("span", { class: "muted" })), h("div")),
      (element, change) => {
        const said = JSON.stringify(change) + keyName(change.key, this.#names);
        if (element.dataset.said === said) return;
        element.dataset.said = said;
        const [header, body] = element.children;
        fill(header.firstElementChild, named(keyName(change.key, this.#names)));
        attr(header.firstElementChild, "title", change.key);
        const words = [actionWord(change.key, change.action)];
        if (change.state !== "applied" && change.state !== entry.state) words.push(tOr(`history.state.${change.state}`, change.state));
        if (change.state === "conflict") words.push(t(change.winner ? "history.winner" : "history.loser"));
        if (!change.before_known) words.push(t("history.before-unknown"));
        text(header.lastElementChild, words.join(" · "));
        fill(body, change.options.length ? diffView(optionLines(change.options)) : h("p", { class: "muted" }, t("history.no-options")));
      });
  }

  #link(edit) {
    return h("a", { href: this.#app.address("history", { edit }) }, short(edit));
  }

  async #revert() {
    this.fault.hidden = true;
    this.undo.disabled = true;
    try {
      const made = await revert(this.#entry.edit);
      if (made) this.#app.notice(t("history.revert.done", { edit: short(made) }));
    } catch (fault) {
      if (!(fault instanceof Problem) || fault.status === 401) throw fault;
      fill(this.fault, h("bdi", {}, [fault.message, fault.hint].filter(Boolean).join(" · ")), fault.edit ? [" ", this.#link(fault.edit)] : null);
      this.fault.hidden = false;
    } finally {
      this.undo.disabled = false;
    }
  }
}
