// A text editor with line numbers that bear marks: what is wrong in which line, as somebody types.

import { attr, button, freshId, h, keyed } from "../dom.js";
import { t } from "../strings.js";

/** What messages for the command line begin with; here the place stands beside. */
const PLACE = /^line \d+(, column \d+)?: /;
const RANK = { error: 0, warning: 1, info: 2 };

/** Findings are `{severity, message, hint, line, column}`; a line of 0 or none means the text as a whole. */
export class Editor {
  #findings = [];
  #lines = 0;

  constructor({ label, changed }) {
    const list = freshId("findings");
    this.area = h("textarea", { class: "mono", "aria-label": label, "aria-describedby": list, spellcheck: "false", wrap: "off", autocomplete: "off", rows: 12 });
    this.gutter = h("div", { class: "gutter mono", "aria-hidden": "true" });
    this.list = h("ul", { class: "lint", id: list, "aria-live": "polite" });
    this.element = h("div", { class: "editor" }, h("div", { class: "editor-box" }, this.gutter, this.area), this.list);
    this.area.addEventListener("input", () => {
      this.#number();
      changed(this.area.value);
    });
    this.area.addEventListener("scroll", () => this.#follow());
    new ResizeObserver(() => this.#follow()).observe(this.area);
  }

  get value() {
    return this.area.value;
  }

  /** The text, if it is another one: the caret of whoever types stays. */
  set value(value) {
    if (this.area.value !== value) this.area.value = value;
    this.#number();
  }

  set locked(locked) {
    this.area.readOnly = locked;
  }

  /** Show what is wrong. */
  set findings(findings) {
    this.#findings = [...findings].sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || RANK[a.severity] - RANK[b.severity]);
    this.#marks();
    keyed(this.list, this.#findings.map((found, index) => ({ ...found, id: `${found.line ?? 0} ${found.column ?? 0} ${found.code} ${found.message} ${index}` })), ({ id }) => id, (found) => this.#item(found));
    attr(this.area, "aria-invalid", this.#findings.some(({ severity }) => severity === "error") ? "true" : null);
  }

  /** Put the caret at a place. */
  goTo(line, column = 1) {
    const lines = this.area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
    const at = Math.min(start + Math.max(column - 1, 0), start + (lines[line - 1]?.length ?? 0));
    this.area.focus();
    this.area.setSelectionRange(at, at);
    const height = parseFloat(getComputedStyle(this.area).lineHeight);
    if (Number.isFinite(height)) this.area.scrollTop = Math.max(0, (line - 4) * height);
    this.#follow();
  }

  #item({ severity, message, hint, line, column }) {
    const what = [h("span", { class: "visually-hidden" }, `${t(`configuration.severity.${severity}`)}: `), h("bdi", {}, line ? message.replace(PLACE, "") : message), hint ? h("bdi", { class: "hint" }, hint) : null];
    const where = line ? button(t("configuration.line", { line }), () => this.goTo(line, column), { class: "small quiet" }) : null;
    return h("li", { class: "finding", "data-severity": severity }, where, h("span", {}, what));
  }

  #number() {
    const lines = this.area.value.split("\n").length;
    if (lines !== this.#lines) {
      this.#lines = lines;
      keyed(this.gutter, Array.from({ length: lines }, (_, index) => index + 1), (line) => line, (line) => h("span", {}, String(line)));
      this.#marks();
    }
    this.#follow();
  }

  #marks() {
    const worst = new Map();
    for (const { line, severity } of this.#findings) {
      if (line && !(RANK[worst.get(line)] <= RANK[severity])) worst.set(line, severity);
    }
    [...this.gutter.children].forEach((number, index) => {
      attr(number, "data-severity", worst.get(index + 1));
      const said = this.#findings.filter(({ line }) => line === index + 1).map(({ message }) => message);
      attr(number, "title", said.join("\n") || null);
    });
  }

  #follow() {
    this.gutter.scrollTop = this.area.scrollTop;
  }
}
