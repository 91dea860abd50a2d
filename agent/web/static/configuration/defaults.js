// The one section for all LUNs: a form of all its options, with a search.

import { h } from "../dom.js";
import { DEFAULTS } from "./draft.js";
import { OptionForm, paintFaults } from "./option_form.js";

export class Defaults {
  constructor({ draft, model }) {
    this.form = new OptionForm({
      model, search: true, level: 2,
      read: () => draft.get(DEFAULTS), before: () => draft.base.get(DEFAULTS),
      write: (option, value) => draft.set(DEFAULTS, option, value),
    });
    this.faults = h("ul", { class: "faults" });
    this.element = h("div", { class: "part" }, this.faults, h("div", { class: "card" }, this.form.element));
  }

  update(faults, locked) {
    paintFaults(this.faults, faults(DEFAULTS).filter(({ option }) => !option));
    this.form.update(faults(DEFAULTS), locked);
  }

  focus(_, option) {
    return this.form.focus(option);
  }
}
