// The allow-listed LUNs: a table with the name and the switch of each in place, its options below it, and LUNs that are seen and not listed.

import { attr, button, freshId, h, keyed, named, text } from "../dom.js";
import { stateWord } from "../multipath/cells.js";
import { compare, size, t } from "../strings.js";
import { WWID } from "./draft.js";
import { OptionForm, paintFaults } from "./option_form.js";
import { Seen } from "./seen.js";

const STEP = 100;
const IN_PLACE = ["alias", "disable"];
const OPTIONS_SAID = 3;

export class Luns {
  #app;
  #draft;
  #model;
  #faults = () => [];
  #locked = true;
  #rows = new Map();
  #open = new Set();
  #words = "";
  #most = STEP;
  #order = { base: null, count: 0, keys: [] };

  constructor({ app, draft, model, matrix }) {
    this.#app = app;
    this.#draft = draft;
    this.#model = model;
    this.matrix = matrix;
    this.seen = new Seen({ app, draft });
    this.search = h("input", { type: "search", class: "search", placeholder: t("configuration.find-lun"), "aria-label": t("configuration.find-lun"), autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", () => this.#find(this.search.value));
    this.count = h("p", { class: "muted", role: "status" });
    this.body = h("tbody");
    this.table = h("table", { class: "plain luns-table", "aria-label": t("configuration.luns") },
      h("thead", {}, h("tr", {}, ["lun", "array", "expected", "options", "listed"].map((name) => h("th", { scope: "col" }, t(`configuration.column.${name}`))), h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, t("configuration.column.actions"))))),
      this.body);
    this.more = button(t("configuration.show-more"), () => this.#showMore(), { hidden: true });
    this.none = h("p", { class: "muted", hidden: true });
    this.element = h("div", { class: "part" }, this.seen.element,
      h("div", { class: "row-of-controls" }, this.search, this.count), h("div", { class: "card scrolls" }, this.table), this.none, this.more);
  }

  update(faults, locked) {
    this.#faults = faults;
    this.#locked = locked;
    this.seen.update(faults, locked);
    this.#paint();
  }

  /** Show what the matrix says now of the LUNs that are shown. */
  refresh() {
    for (const [key, row] of this.#rows) if (row.summary.isConnected) row.update(this.#matrixRow(key), this.#faults(key), this.#locked, this.#open.has(key));
  }

  /** Show a LUN, and put the focus on an option of it. */
  focus(key, option) {
    this.#find((this.search.value = ""));
    const at = this.#keys().indexOf(key);
    if (at < 0) return false;
    if (at >= this.#most) this.#most = Math.ceil((at + 1) / STEP) * STEP;
    if (!IN_PLACE.includes(option)) this.#open.add(key);
    this.#paint();
    const row = this.#rows.get(key);
    row.summary.scrollIntoView({ block: "center" });
    if (!row.form?.focus(option)) row.alias.focus();
    return true;
  }

  #find(words) {
    this.#words = words.toLowerCase();
    this.#most = STEP;
    this.#paint();
  }

  #showMore() {
    const first = this.#keys()[this.#most];
    this.#most += STEP;
    this.#paint();
    this.#rows.get(first)?.alias.focus();
  }

  /** All keys by the names that are saved: a row does not move while its name is typed. */
  #sorted() {
    const { base } = this.#draft;
    const keys = this.#draft.keys(WWID);
    const { base: of, count } = this.#order;
    if (of !== base || count !== keys.length) {
      const name = new Map(keys.map((key) => [key, (base.get(key) ?? this.#draft.get(key))?.alias ?? ""]));
      const byName = (a, b) => {
        const [x, y] = [name.get(a), name.get(b)];
        if (x === "" || y === "") return x === y ? (a < b ? -1 : 1) : x === "" ? 1 : -1; // WWIDs are no numbers: they stand as plain text, after the names
        return compare(x, y);
      };
      this.#order = { base, count: keys.length, keys: keys.sort(byName) };
    }
    return this.#order.keys;
  }

  #keys() {
    const words = this.#words.split(/\s+/).filter(Boolean);
    // A row that is being typed in stays, and one that was renamed is found by both names.
    const fits = (key) => {
      if (this.#rows.get(key)?.has(document.activeElement)) return true;
      const seen = this.#matrixRow(key);
      const said = [this.#draft.base.get(key), this.#draft.get(key)].flatMap((options) => [options?.alias, options?.comment]);
      const hay = [key, ...said, seen?.array, ...(seen?.expected ?? []), ...(seen?.storages ?? [])].join("\n").toLowerCase();
      return words.every((word) => hay.includes(word));
    };
    return words.length ? this.#sorted().filter(fits) : this.#sorted();
  }

  #matrixRow(key) {
    const wwid = key.slice(WWID.length);
    return this.matrix.get(`multipath.map ${wwid}`) ?? this.seen.lun(wwid);
  }

  #paint() {
    const keys = this.#keys();
    const shown = keys.slice(0, this.#most);
    for (const key of this.#rows.keys()) if (!this.#draft.base.has(key) && !this.#draft.get(key)) this.#rows.delete(key);
    keyed(this.body, shown.flatMap((key) => (this.#open.has(key) ? [{ key }, { key, form: true }] : [{ key }])), ({ key, form }) => `${form ? "form " : ""}${key}`,
      ({ key, form }) => (form ? this.#row(key).details() : this.#row(key).summary),
      (_, { key, form }) => form || this.#row(key).update(this.#matrixRow(key), this.#faults(key), this.#locked, this.#open.has(key)));
    const all = this.#draft.keys(WWID).length;
    text(this.count, keys.length === all ? t("configuration.luns-count", { n: all }) : t("configuration.luns-shown", { shown: keys.length, n: all }));
    this.table.parentElement.hidden = keys.length === 0;
    this.none.hidden = keys.length > 0;
    text(this.none, t(all ? "configuration.no-lun-fits" : "configuration.no-luns"));
    this.more.hidden = shown.length === keys.length;
  }

  #row(key) {
    if (!this.#rows.has(key)) {
      const toggle = () => {
        if (!this.#open.delete(key)) this.#open.add(key);
        this.#paint();
      };
      this.#rows.set(key, new LunRow({ key, app: this.#app, draft: this.#draft, model: this.#model, toggle }));
    }
    return this.#rows.get(key);
  }
}

/** One LUN: its row, and the row below it with its options. */
class LunRow {
  constructor({ key, app, draft, model, toggle }) {
    const wwid = key.slice(WWID.length);
    this.key = key;
    this.app = app;
    this.draft = draft;
    this.model = model;
    this.form = null;
    this.alias = h("input", { type: "text", class: "alias", "aria-label": t("configuration.alias-of", { wwid }), placeholder: t("configuration.no-alias"), autocomplete: "off", spellcheck: "false", maxlength: 127, id: freshId("alias") });
    this.alias.addEventListener("input", () => draft.set(key, "alias", this.alias.value.trim()));
    this.faults = h("ul", { class: "faults", id: freshId("faults") });
    attr(this.alias, "aria-describedby", this.faults.id);
    this.badge = h("span", { class: "change" });
    this.listed = h("input", { type: "checkbox", "aria-label": t("configuration.listed-of", { wwid }) });
    this.listed.addEventListener("change", () => draft.set(key, "disable", this.listed.checked ? "" : "1"));
    this.array = h("td", { "data-column": t("configuration.column.array") });
    this.state = h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), h("span"));
    this.expected = named("");
    this.options = h("td", { class: "said-options", "data-column": t("configuration.column.options") });
    this.open = button(t("configuration.options"), toggle, { class: "small", "aria-expanded": "false", "aria-label": t("configuration.options-of", { wwid }) });
    this.remove = button(t("configuration.remove"), () => draft.put(key, null), { class: "small danger", "aria-label": t("configuration.remove-of", { name: wwid }) });
    this.undo = button(t("configuration.undo"), () => draft.revert(key), { class: "small", "aria-label": t("configuration.undo-of", { name: wwid }) });
    this.summary = h("tr", { class: "lun-line", "data-wwid": wwid },
      h("th", { scope: "row" }, h("div", { class: "lun-id" }, this.alias, this.badge), h("code", { class: "wwid" }, wwid), this.faults),
      this.array, h("td", { "data-column": t("configuration.column.expected") }, this.state, h("div", { class: "muted" }, this.expected)), this.options,
      h("td", { "data-column": t("configuration.column.listed") }, this.listed),
      h("td", { class: "actions" }, h("div", { class: "row-of-controls" }, this.open, this.undo, this.remove)));
  }

  /** Whether an element is within the row or its options. */
  has(element) {
    return this.summary.contains(element) || Boolean(this.line?.contains(element));
  }

  /** The row with the options, made when it is first asked for. */
  details() {
    if (!this.line) {
      this.form = new OptionForm({
        model: this.model, skip: IN_PLACE,
        read: () => this.draft.get(this.key), before: () => this.draft.base.get(this.key),
        write: (option, value) => this.draft.set(this.key, option, value),
      });
      this.line = h("tr", { class: "lun-options" }, h("td", { colspan: 6 }, this.form.element));
    }
    return this.line;
  }

  update(seen, faults, locked, open) {
    const { draft, key } = this;
    const options = draft.get(key);
    const status = draft.status(key);
    const gone = options === null;
    if (this.alias.value.trim() !== (options?.alias ?? "")) this.alias.value = options?.alias ?? "";
    this.listed.checked = !gone && options.disable === undefined;
    this.alias.disabled = this.listed.disabled = locked || gone;
    attr(this.summary, "data-change", status || null);
    text(this.badge, status ? t(`configuration.${status}`) : "");
    const own = faults.filter(({ option }) => IN_PLACE.includes(option) || !option || !open);
    attr(this.alias, "aria-invalid", own.some(({ severity, option }) => severity === "error" && option === "alias") ? "true" : null);
    paintFaults(this.faults, own);
    text(this.array, [seen?.array, seen?.size ? size(seen.size) : ""].filter(Boolean).join(" · ") || "–");
    const state = seen?.state ?? "unknown";
    this.state.hidden = !seen?.state;
    attr(this.state, "data-state", state);
    attr(this.state.firstElementChild, "data-state", state);
    text(this.state.lastElementChild, stateWord(state));
    text(this.expected, seen?.expected?.join(", ") || "");
    const said = Object.entries(options ?? {}).filter(([name]) => !IN_PLACE.includes(name)).map(([name, value]) => `${name} ${value}`);
    const more = said.length - OPTIONS_SAID;
    text(this.options, [...said.slice(0, OPTIONS_SAID), more > 0 && t("configuration.more-options", { n: more })].filter(Boolean).join(" · ") || "–");
    attr(this.open, "aria-expanded", String(open));
    this.open.disabled = gone;
    this.remove.hidden = gone || locked;
    this.undo.hidden = !status || locked;
    if (open || this.line) {
      this.details();
      this.line.hidden = gone;
      this.form.update(faults, locked);
    }
  }
}
