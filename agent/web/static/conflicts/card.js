// One conflict: every value with its author, what they all began from, and the two ways out: take one, or merge them.

import { segment, write } from "../api.js";
import { OptionForm } from "../configuration/option_form.js";
import { Editor } from "../configuration/editor.js";
import { mergeText } from "../configuration/merge.js";
import { textValue } from "../configuration/values.js";
import { attr, button, fill, freshId, h, keyed, named, text } from "../dom.js";
import { diffLines, diffView } from "../history/diff.js";
import { keyName } from "../history/keys.js";
import { t, time } from "../strings.js";
import { begin, optionsOf } from "./choice.js";

const OVERRIDES = "overrides";
const MERGES = ["defaults", OVERRIDES, "wwid/", "storage/"];
const LINT_MS = 300;

/** Whether a key's values can be merged; of others one is taken. */
const merges = (key) => MERGES.some((each) => key === each || (each.endsWith("/") && key.startsWith(each)));

export class Card {
  #app;
  #model;
  #conflict = null;
  #merge = null;
  #busy = false;
  #ended = false;
  #timer = 0;

  constructor({ app, names, model, key, done }) {
    const heading = freshId("conflict");
    const reason = freshId("reason");
    Object.assign(this, { key, names, done });
    this.#app = app;
    this.#model = model;
    this.title = named("", { id: heading });
    this.code = h("code", { class: "muted" }, key);
    this.table = h("table", { class: "plain values-table", "aria-labelledby": heading }, h("thead", {}, h("tr")), h("tbody"));
    this.fault = h("p", { class: "fault", role: "alert", hidden: true });
    this.moved = h("p", { class: "told-moved", role: "status", hidden: true }, t("conflicts.moved"));
    this.reason = h("input", { id: reason, type: "text", maxlength: 4096, autocomplete: "off", placeholder: t("configuration.reason-why") });
    this.open = button(t("conflicts.merge"), () => this.#begin(), { "aria-label": t("conflicts.merge-of", { name: key }) });
    this.resolve = button(t("conflicts.resolve"), () => this.#resolveMerge(), { class: "primary" });
    this.cancel = button(t("shell.cancel"), () => this.#end(), { class: "quiet" });
    this.editing = h("div", { class: "merge", hidden: true });
    this.element = h("li", { class: `card conflict${key === OVERRIDES ? " of-text" : ""}`, "aria-labelledby": heading, "data-key": key },
      h("header", {}, h("h2", {}, this.title), this.code, h("a", { href: app.address("history", { key }) }, t("conflicts.history"))),
      h("div", { class: "scrolls" }, this.table), this.moved, this.editing, this.fault,
      h("div", { class: "row-of-controls" }, h("label", { class: "reason", for: reason }, t("configuration.reason"), this.reason), this.open, this.cancel, this.resolve));
  }

  /** Whether a merge or a reason is typed that nobody has saved. */
  get typing() {
    return this.#merge !== null || this.reason.value !== "";
  }

  update(conflict, locked) {
    const before = this.#conflict;
    if (this.#ended) {
      this.#ended = false;
      text(this.moved, t("conflicts.moved"));
    }
    this.#conflict = conflict;
    if (this.#merge && JSON.stringify(before?.siblings.map(({ dot }) => dot)) !== JSON.stringify(conflict.siblings.map(({ dot }) => dot))) {
      // What was typed stays; the values beside it are the new ones, and it ends those that are shown.
      this.moved.hidden = false;
    }
    this.locked = locked;
    this.#paint();
  }

  /** The conflict was ended by somebody else while something was typed here: it stays to be read until it is closed. */
  end(locked) {
    this.locked = locked;
    this.#ended = true;
    text(this.moved, t("conflicts.ended"));
    this.moved.hidden = false;
    this.#paint();
  }

  focus() {
    this.element.scrollIntoView({ block: "start" });
    this.table.querySelector("button")?.focus();
  }

  // -- the values ------------------------------------------------------------------------------------------------------

  #paint() {
    const { key, siblings, ancestor } = this.#conflict;
    text(this.title, keyName(key, this.names));
    const columns = [{ id: "ancestor", sibling: null, index: -1 }, ...siblings.map((sibling, index) => ({ id: sibling.dot, sibling, index }))];
    const [head, body] = [this.table.tHead.rows[0], this.table.tBodies[0]];
    keyed(head, [{ id: "option" }, ...columns], ({ id }) => id, (column) => this.#head(column), (element, column) => column.sibling && this.#paintHead(element, column));
    const values = siblings.map(({ value }) => value);
    const rows = key === OVERRIDES ? [{ name: "text", said: values.map((value) => value?.text ?? ""), agreed: false }] : optionsOf(values);
    // What was there before and is in no value any more is told, too.
    const gone = key === OVERRIDES ? [] : Object.keys(ancestor.value ?? {}).filter((name) => !rows.some((row) => row.name === name)).map((name) => ({ name, said: values.map(() => ""), agreed: true }));
    const items = [...rows, ...gone].map((row) => ({ ...row, columns, before: ancestor.known ? (ancestor.value?.[row.name] ?? "") : null, values }));
    if (!items.length || values.includes(null)) items.unshift({ name: "", said: values.map((value) => (value === null ? "gone" : "there")), agreed: false, columns, before: ancestor.known ? (ancestor.value === null ? "gone" : "there") : null, values });
    keyed(body, items, ({ name }) => name, ({ name }) => h("tr", {}, h("th", { scope: "row", class: name ? "mono" : "" }, key === OVERRIDES ? t("conflicts.text") : name || t("conflicts.section"))), (row, item) => this.#paintRow(row, item));
    this.open.hidden = this.#merge !== null || !merges(key) || this.locked || this.#ended;
    this.resolve.hidden = this.#merge === null || this.locked || this.#ended;
    this.cancel.hidden = this.#merge === null && !this.#ended;
    text(this.cancel, t(this.#ended ? "shell.close" : "shell.cancel"));
    this.editing.hidden = this.#merge === null;
    this.reason.disabled = this.locked;
    this.resolve.disabled = this.#busy;
    this.#merge?.update?.();
  }

  #head({ id, sibling }) {
    if (id === "option") return h("td");
    if (sibling === null) return h("th", { scope: "col" }, h("strong", {}, t("conflicts.ancestor")), h("div", { class: "muted" }, t("conflicts.ancestor-what")));
    return h("th", { scope: "col" }, h("strong", {}), " ", h("span", { class: "effect" }, t("conflicts.in-effect")), h("div", { class: "muted" }), h("div", { class: "why" }),
      button(t("conflicts.take"), () => this.#take(id), { class: "small" }));
  }

  #paintHead(element, { sibling }) {
    const [author, effect, when, why, take] = element.children;
    text(author, t("conflicts.at", { node: sibling.author }));
    effect.hidden = !sibling.winner;
    text(when, time(sibling.wall));
    text(why, sibling.reason ? t("conflicts.because", { reason: sibling.reason }) : "");
    attr(take, "aria-label", t("conflicts.take-of", { node: sibling.author, when: time(sibling.wall) }));
    take.hidden = this.locked || this.#merge !== null || this.#ended;
    take.disabled = this.#busy;
    element.classList.toggle("winner", sibling.winner);
  }

  #paintRow(row, { name, columns, said, before, agreed, values }) {
    row.classList.toggle("agreed", agreed && (before === null || said[0] === before));
    keyed(row, [{ id: "name" }, ...columns], ({ id }) => id, ({ id }) => (id === "name" ? row.firstElementChild : h("td")), (cell, { id, sibling, index }) => {
      if (id === "name") return;
      const value = sibling === null ? before : said[index];
      const words = { gone: t("conflicts.gone"), there: t("conflicts.there") };
      const absent = sibling !== null && name !== "" && values[index] === null;
      const nothing = value === null ? t("conflicts.not-known") : value === "" ? (absent ? "–" : t("configuration.not-set")) : null;
      const content = nothing ?? (name === "" ? words[value] : value);
      cell.classList.toggle("differs", this.key !== OVERRIDES && sibling !== null && before !== null && value !== before);
      attr(cell, "data-column", sibling === null ? t("conflicts.ancestor") : t("conflicts.at", { node: sibling.author }));
      const key = JSON.stringify([content, before]);
      if (cell.dataset.said === key) return;
      cell.dataset.said = key;
      if (nothing !== null) fill(cell, h("span", { class: "muted" }, nothing));
      else if (this.key !== OVERRIDES || name === "") fill(cell, textValue(content));
      else fill(cell, diffView(sibling === null || before === null ? content.split("\n").map((line) => [" ", line]) : diffLines(before, content)));
    });
  }

  // -- the ways out ----------------------------------------------------------------------------------------------------

  async #take(dot) {
    const dots = this.#conflict.siblings.map((sibling) => sibling.dot);
    await this.#resolve({ dots, take: dots.indexOf(dot) + 1 });
  }

  async #resolveMerge() {
    await this.#resolve({ dots: this.#conflict.siblings.map(({ dot }) => dot), value: this.#merge.value() });
  }

  async #resolve(body) {
    this.#busy = true;
    this.fault.hidden = true;
    this.#paint();
    try {
      const path = `/v1/conflicts/${segment(this.key)}/resolve`;
      await write("POST", path, { body: { ...body, reason: this.reason.value.trim() } });
      this.#merge = null;
      this.reason.value = "";
      this.#app.notice(t("conflicts.resolved", { name: keyName(this.key, this.names) }));
    } catch (problem) {
      this.#refused(problem);
    } finally {
      this.#busy = false;
      this.#paint();
      this.done();
    }
  }

  #refused(problem) {
    if (problem.status === undefined) throw problem;
    this.#merge?.refused?.(problem.problems);
    const said = problem.problems.length ? problem.problems.map(({ message, hint }) => [message, hint].filter(Boolean).join(" · ")).join("; ") : [problem.message, problem.hint].filter(Boolean).join(" · ");
    text(this.fault, said);
    this.fault.hidden = false;
  }

  // -- merging ---------------------------------------------------------------------------------------------------------

  #begin() {
    this.#merge = this.key === OVERRIDES ? this.#mergeText() : this.#mergeOptions();
    this.editing.replaceChildren(h("h3", {}, t("conflicts.merge-title")), h("p", { class: "muted" }, t(this.key === OVERRIDES ? "conflicts.merge-what-text" : "conflicts.merge-what")), ...this.#merge.elements);
    this.moved.hidden = true;
    this.#paint();
    this.#merge.focus();
  }

  #end() {
    this.#merge = null;
    if (this.#ended) this.reason.value = "";
    this.fault.hidden = this.moved.hidden = true;
    this.editing.replaceChildren();
    this.#paint();
    if (this.#ended) this.done();
    else this.open.focus();
  }

  #mergeOptions() {
    const { siblings, ancestor } = this.#conflict;
    const values = siblings.map(({ value }) => value);
    const winner = siblings.findIndex((sibling) => sibling.winner);
    const first = begin(values, winner, ancestor.known ? ancestor.value : undefined);
    const scope = this.key.startsWith("wwid/") ? "wwid" : this.key.startsWith("storage/") ? first.type : "defaults";
    let merged = { ...first };
    let faults = [];
    const form = new OptionForm({
      model: this.#model[scope] ?? [], skip: ["type"],
      read: () => merged, before: () => first,
      write: (option, value) => {
        merged = { ...merged, [option]: value };
        if (value === "") delete merged[option];
        faults = faults.filter((fault) => fault.option !== option);
        form.update(faults, this.#busy);
      },
    });
    const disagreed = optionsOf(values).filter(({ agreed }) => !agreed).map(({ name }) => name);
    return {
      elements: [form.element],
      value: () => merged,
      focus: () => form.focus(disagreed.find((name) => name !== "type") ?? Object.keys(first)[0]),
      update: () => form.update(faults, this.#busy || this.locked),
      refused: (problems) => {
        faults = problems;
        form.update(faults, this.#busy);
      },
    };
  }

  /** Texts are merged line by line, one after the other, over what they began from. */
  #mergeText() {
    const { siblings, ancestor } = this.#conflict;
    const base = ancestor.value?.text ?? "";
    const [first, ...others] = siblings;
    let merged = first.value?.text ?? "";
    for (const other of others) {
      merged = mergeText(base, merged, other.value?.text ?? "", { mine: t("conflicts.at", { node: first.author }), theirs: t("conflicts.at", { node: other.author }) }).text;
    }
    const editor = new Editor({ label: t("conflicts.merge-text"), changed: () => this.#lint(editor) });
    editor.value = merged;
    this.#lint(editor);
    return {
      elements: [editor.element],
      value: () => (editor.value === "" ? null : { text: editor.value }),
      focus: () => editor.area.focus(),
      refused: (problems) => (editor.findings = problems),
    };
  }

  #lint(editor) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const checked = editor.value;
      try {
        const { problems } = (await write("POST", "/v1/overrides/check", { text: checked })).body;
        if (checked === editor.value) editor.findings = problems;
      } catch (fault) {
        this.#app.failed(fault);
      }
    }, LINT_MS);
  }
}
