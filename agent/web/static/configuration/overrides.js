// The free-form overrides: a text of its own with a digest of its own, checked by the agent while it is typed.

import { write } from "../api.js";
import { h, text } from "../dom.js";
import { serially } from "../live.js";
import { said } from "../notices.js";
import { t } from "../strings.js";
import { Editor } from "./editor.js";
import { paintFaults } from "./option_form.js";

const TYPING_MS = 300;

export class Overrides {
  base = "";
  digest = null;
  #timer = 0;
  #changed;
  #problems = [];

  constructor({ app, changed }) {
    this.#changed = changed;
    this.editor = new Editor({ label: t("configuration.overrides"), changed: () => this.#typed() });
    this.check = serially(() => this.#check(), (fault) => this.#unchecked(fault));
    this.state = h("p", { class: "muted", role: "status" });
    this.faults = h("ul", { class: "faults" });
    this.element = h("div", { class: "part" }, h("p", { class: "muted prose" }, t("configuration.overrides-what")), this.faults, this.editor.element, this.state);
  }

  /** Whether the text is another one than was read. */
  get dirty() {
    return this.text !== this.base;
  }

  get text() {
    return this.editor.value;
  }

  /** Errors in the text, as the last check found them. */
  get errors() {
    return this.#problems.filter(({ severity }) => severity === "error");
  }

  /** Put the caret where the first error is. */
  focus() {
    this.editor.goTo(this.errors[0]?.line || 1, this.errors[0]?.column);
  }

  /** The text as it was read, and what is wanted instead of it: the present text unless another one is given. */
  rebase(base, digest, wanted = this.dirty ? this.text : base) {
    this.base = base;
    this.digest = digest;
    this.editor.value = wanted;
    this.check();
  }

  /** Want it as it was. */
  clear() {
    this.editor.value = this.base;
    this.check();
  }

  /** What the agent said when it refused the text. */
  refused(problems) {
    this.#problems = problems;
    this.editor.findings = problems;
  }

  /** `faults` are those of the document as a whole: what is wrong with the text stands at its lines. */
  update(faults, locked) {
    paintFaults(this.faults, faults);
    this.editor.locked = locked;
  }

  #typed() {
    this.#changed();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.check(), TYPING_MS);
  }

  /** The agent will not check this text: what was found in another one says nothing of it. */
  #unchecked(fault) {
    this.refused([]);
    text(this.state, said(fault));
    this.#changed();
  }

  async #check() {
    const checked = this.text;
    const { problems } = checked.trim() === "" ? { problems: [] } : (await write("POST", "/v1/overrides/check", { text: checked })).body;
    if (checked !== this.text) return this.#typed();
    this.#problems = problems;
    this.editor.findings = problems;
    text(this.state, checked.trim() === "" ? "" : problems.length ? t("configuration.lint-found", { n: problems.length }) : t("configuration.lint-clean"));
    this.#changed();
  }
}
