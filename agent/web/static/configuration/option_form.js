// A form of the options of one section, made from the option model: a control for each, what it takes, and what is wrong with it.

import { attr, button, freshId, h, keyed, text } from "../dom.js";
import { number, t, tOr } from "../strings.js";

/** What an option takes, in words of the page where the model says it by numbers. */
export function valuesText({ form, values }) {
  if (form.control === "choice") return "";
  if (form.control === "lines") return t("configuration.takes-lines");
  if (form.control !== "number") return values;
  const unit = form.unit ? ` ${tOr(`configuration.unit.${form.unit}`, form.unit)}` : "";
  const range = t("configuration.takes-number", { low: number(form.low), high: number(form.high) }) + unit;
  return form.words.length ? t("configuration.takes-or", { words: form.words.join(", "), range }) : range;
}

/** One option's control. `value` is "" for an option that is not set. */
class Field {
  constructor(option, changed) {
    const id = freshId("option");
    const { name, form } = option;
    this.option = option;
    this.control = control(option, id);
    this.control.addEventListener(form.control === "choice" ? "change" : "input", () => changed(name, this.control.value));
    // Left empty, a field shows what holds then; in its help that is said once for all.
    this.state = h("span", { class: "option-state" });
    this.help = h("p", { class: "help", id: `${id}-help` }, helpOf(option));
    this.faults = h("ul", { class: "faults", id: `${id}-faults` });
    attr(this.control, "aria-describedby", `${id}-help ${id}-faults`);
    this.element = h("div", { class: `option option-${form.control}` },
      h("label", { for: id }, name), this.state, this.control, this.help, this.faults);
  }

  update(value, before, faults, locked) {
    if (this.control.value !== value) {
      if (this.option.form.control === "choice") offer(this.control, this.option, value);
      this.control.value = value;
    }
    this.control.disabled = locked;
    const changed = (this.changed = value !== before);
    this.element.classList.toggle("changed", changed);
    this.element.classList.toggle("set", value !== "");
    text(this.state, changed ? (before === "" ? t("configuration.was-not-set") : t("configuration.was", { value: brief(before) })) : "");
    attr(this.control, "aria-invalid", faults.some(({ severity }) => severity === "error") ? "true" : null);
    // A hint that is the note again stands there already.
    paintFaults(this.faults, faults.map((fault) => (fault.hint === this.option.note ? { ...fault, hint: "" } : fault)));
  }
}

const brief = (value) => (value.length > 40 ? `${value.slice(0, 40)}…` : value);

function control(option, id) {
  const { name, form, default: otherwise } = option;
  const attributes = { id, name, autocomplete: "off", spellcheck: "false" };
  if (form.control === "choice") {
    const element = h("select", attributes);
    offer(element, option, "");
    return element;
  }
  const placeholder = otherwise || t("configuration.not-set");
  if (form.control === "lines") return h("textarea", { ...attributes, rows: 2, placeholder, spellcheck: "true" });
  return h("input", { ...attributes, type: "text", placeholder, inputmode: form.control === "number" && !form.words.length ? "numeric" : null });
}

/** The words of a choice; what stands there already is one of them, whatever the model says of it. */
function offer(element, { form, default: otherwise }, value) {
  const words = value && !form.words.includes(value) ? [...form.words, value] : form.words;
  const nothing = otherwise ? t("configuration.default", { value: otherwise }) : t("configuration.not-set");
  element.replaceChildren(h("option", { value: "" }, nothing), ...words.map((word) => h("option", { value: word }, word)));
}

function helpOf(option) {
  const parts = [valuesText(option), option.required && t("configuration.required"), option.since && t("configuration.since", { version: option.since })];
  const said = parts.filter(Boolean).join(" · ");
  // The notes come from the agent, in English.
  return [said, said && option.note ? " · " : "", option.note ? h("span", { lang: "en" }, option.note) : null].filter(Boolean);
}

/** The faults at a place: `{severity, message, hint}`; `href` leads to the conflict that is one. */
export function paintFaults(list, faults) {
  keyed(list, faults, ({ severity, message }) => `${severity} ${message}`,
    ({ severity, message, hint, href }) => h("li", { class: "finding", "data-severity": severity },
      h("span", { class: "visually-hidden" }, `${t(`configuration.severity.${severity}`)}: `), h("bdi", {}, message), href ? [" ", h("a", { href }, t("configuration.to-conflict"))] : null, hint ? h("bdi", { class: "hint" }, hint) : null));
}

/** The options of one group: those that are set, always in view, and below them the others, folded. */
class Part {
  constructor(name, level) {
    this.head = h(`h${level}`, { class: "form-head" }, tOr(`configuration.group.${name}`, name));
    const label = this.head.textContent;
    this.set = h("div", { class: "options", role: "group", "aria-label": label });
    this.rest = h("div", { class: "options", role: "group" });
    this.restHead = h("summary", {});
    this.more = h("details", { class: "more-options" }, this.restHead, this.rest);
    this.element = h("section", { class: "option-part" }, this.head, this.set, this.more);
  }

  /** Take these fields, `{field, first}`, in their places; those that are hidden by a search do not count. */
  arrange(fields) {
    for (const [list, first] of [[this.set, true], [this.rest, false]]) keyed(list, fields.filter((each) => each.first === first), ({ field }) => field.option.name, ({ field }) => field.element);
    const shown = (first) => fields.filter((each) => each.first === first && !each.field.element.hidden).length;
    // What was changed and is folded away is told.
    const changed = fields.filter(({ first, field }) => !first && field.changed).length;
    text(this.restHead, [t("configuration.options-rest", { n: shown(false) }), changed && t("configuration.rest-changed", { n: changed })].filter(Boolean).join(" · "));
    attr(this.rest, "aria-label", `${this.head.textContent}: ${this.restHead.textContent}`);
    this.set.hidden = shown(true) === 0;
    this.more.hidden = shown(false) === 0;
    this.element.hidden = this.set.hidden && this.more.hidden;
  }
}

/**
 * The form of a section. `model` is the list of its options; `read()` gives the options as they are wanted, `before()` as they were, both
 * objects; `write(option, value)` takes what is typed; `skip` are options that are asked for elsewhere; `level` is that of the headings.
 */
export class OptionForm {
  #source;
  #fields = new Map();
  #parts = new Map();
  #words = "";
  #order = [];

  constructor({ model, read, before, write, skip = [], search = false, level = 3 }) {
    this.#source = { model: model.filter(({ name }) => !skip.includes(name)), read, before, write, skip, level };
    this.none = h("p", { class: "muted", hidden: true }, t("configuration.no-option-fits"));
    this.list = h("div", { class: "option-parts" });
    this.element = h("div", { class: "option-form" });
    if (search) {
      this.search = h("input", { type: "search", class: "search", placeholder: t("configuration.find-option"), "aria-label": t("configuration.find-option"), autocomplete: "off", spellcheck: "false" });
      this.search.addEventListener("input", () => this.#find(this.search.value));
      this.element.append(h("div", { class: "row-of-controls" }, this.search, button(t("configuration.unfold"), () => this.#unfold(true), { class: "small quiet" }), button(t("configuration.fold"), () => this.#unfold(false), { class: "small quiet" })));
    }
    this.element.append(this.none, this.list);
  }

  /** Bring every control up to date; `faults` are those of the section, `locked` that nothing may be changed. */
  update(faults, locked) {
    const { model, read, before, write, skip } = this.#source;
    const [now, was] = [read() ?? {}, before() ?? {}];
    const known = new Set(model.map(({ name }) => name));
    const strange = [...new Set([...Object.keys(now), ...Object.keys(was)])].filter((name) => !known.has(name) && !skip.includes(name)).sort();
    const options = [...model, ...strange.map(unknown)];
    for (const option of options) {
      if (!this.#fields.has(option.name)) this.#fields.set(option.name, new Field(option, write));
      this.#fields.get(option.name).update(now[option.name] ?? "", was[option.name] ?? "", faults.filter((fault) => fault.option === option.name), locked);
    }
    // What is set in the configuration is always in view; while something is typed nothing changes its place.
    this.#order = options.map(({ name, group, required }) => ({ group, field: this.#fields.get(name), first: Boolean(required || name in was || strange.includes(name)) }));
    this.#arrange();
  }

  /** Put the focus on an option's control. */
  focus(name) {
    const field = this.#fields.get(name);
    if (!field) return false;
    if (this.search && field.element.hidden) this.#find((this.search.value = ""));
    const folded = field.element.closest("details");
    if (folded) folded.open = true;
    field.control.focus();
    return true;
  }

  #find(words) {
    this.#words = words.toLowerCase().replaceAll("_", "-");
    this.#arrange();
    if (words) this.#unfold(true);
  }

  #unfold(open) {
    for (const { more } of this.#parts.values()) more.open = open;
  }

  #arrange() {
    const words = this.#words.split(/\s+/).filter(Boolean);
    for (const { field: { element, option } } of this.#order) {
      const hay = `${option.name} ${option.note} ${option.values}`.toLowerCase();
      element.hidden = !words.every((word) => hay.includes(word));
    }
    const groups = [...new Set(this.#order.map(({ group }) => group))];
    for (const group of groups) if (!this.#parts.has(group)) this.#parts.set(group, new Part(group, this.#source.level));
    keyed(this.list, groups, (group) => group, (group) => this.#parts.get(group).element, (_, group) => this.#parts.get(group).arrange(this.#order.filter((each) => each.group === group)));
    this.none.hidden = groups.some((group) => !this.#parts.get(group).element.hidden);
  }
}

/** An option that this version does not know: it is kept, and can be taken away. */
function unknown(name) {
  return { name, group: "unknown", form: { control: "text", words: [] }, values: "", default: "", since: "", note: "", required: false, strange: true };
}
