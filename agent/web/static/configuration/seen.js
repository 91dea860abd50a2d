// LUNs that nodes see and that are not allow-listed: find some, name them, and take them into the draft together. One may be typed in, too.

import { get } from "../api.js";
import { attr, button, freshId, h, keyed, named, text } from "../dom.js";
import { serially } from "../live.js";
import { compare, size, t } from "../strings.js";
import { WWID } from "./draft.js";

const EVENTS = ["lun", "cell", "cells", "node", "edit", "late-edit", "more", "resumed", "gap"];
const MOST = 200;
/** More than these are folded, so that the LUNs that are listed are in view. */
const FEW = 10;

/** The name that a pattern gives to the LUN with this number: it stands for `##`, with as many digits at least, or at the end. */
export function numbered(pattern, number) {
  const [hashes] = /#+/.exec(pattern) ?? [""];
  const digits = String(number).padStart(hashes.length, "0");
  return hashes ? pattern.replace(hashes, digits) : pattern + digits;
}

const arrayOf = ({ vendor, product }) => [vendor, product].filter(Boolean).join(" ");

export class Seen {
  #draft;
  #luns = [];
  #chosen = new Set();
  #names = new Map();
  #words = "";
  #active = false;
  #locked = true;
  #folded = null;

  constructor({ app, draft }) {
    this.#draft = draft;
    this.load = serially(async () => {
      this.#luns = (await get("/v1/luns/scan")).luns;
      this.#paint();
    }, app.failed, () => this.#active);
    for (const kind of EVENTS) app.live.on(kind, () => this.#active && this.load());
    this.all = h("input", { type: "checkbox" });
    this.all.addEventListener("change", () => this.#chooseAll(this.all.checked));
    this.body = h("tbody");
    this.table = h("div", { class: "scrolls" }, h("table", { class: "plain seen-table", "aria-label": t("configuration.seen") },
      h("thead", {}, h("tr", {}, h("td"), ["wwid", "alias", "array", "seen-on"].map((name) => h("th", { scope: "col" }, t(`configuration.column.${name}`))))), this.body));
    this.search = h("input", { type: "search", class: "search", placeholder: t("configuration.seen-find"), "aria-label": t("configuration.seen-find"), autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", () => {
      this.#words = this.search.value.toLowerCase();
      this.#paint();
    });
    this.pattern = h("input", { type: "text", placeholder: t("configuration.seen-pattern"), "aria-label": t("configuration.seen-pattern"), autocomplete: "off", spellcheck: "false", maxlength: 120 });
    this.pattern.addEventListener("input", () => this.#paint());
    this.name = button(t("configuration.seen-name"), () => this.#nameChosen());
    this.add = button("", () => this.#add(), { class: "primary" });
    this.some = h("p", { class: "muted", hidden: true });
    this.title = h("h2", {}, "");
    this.none = h("p", { class: "muted" }, t("configuration.seen-none"));
    const wwid = freshId("wwid");
    const alias = freshId("alias");
    this.wwid = h("input", { id: wwid, type: "text", class: "mono", autocomplete: "off", spellcheck: "false", maxlength: 127, required: true });
    this.alias = h("input", { id: alias, type: "text", autocomplete: "off", spellcheck: "false", maxlength: 127 });
    this.typedFault = h("p", { class: "fault", role: "alert", hidden: true });
    this.addTyped = h("button", { type: "submit" }, t("configuration.add"));
    this.typed = h("form", { class: "add-form", "aria-label": t("configuration.add-typed") },
      h("label", { class: "field", for: wwid }, t("configuration.column.wwid"), this.wwid),
      h("label", { class: "field", for: alias }, t("configuration.column.alias"), this.alias), this.addTyped, this.typedFault);
    this.typed.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#addTyped();
    });
    this.finder = h("div", { class: "row-of-controls" }, this.search, h("label", { class: "pick" }, this.all, t("configuration.seen-all")));
    this.controls = h("div", { class: "row-of-controls" }, this.pattern, this.name, this.add);
    this.box = h("details", { class: "seen-box", open: true }, h("summary", {}, this.title), this.none, this.finder, this.table, this.some, this.controls);
    this.element = h("section", { class: "card seen", "aria-label": t("configuration.seen") },
      this.box, h("details", {}, h("summary", {}, t("configuration.add-typed")), this.typed));
  }

  /** Whether it is shown: only then it is kept up to date. */
  set active(active) {
    if (active && !this.#active) this.load();
    this.#active = active;
  }

  update(_, locked) {
    this.#locked = locked;
    this.#paint();
  }

  /** Whether something is chosen or typed that is in no draft yet. */
  get typing() {
    return this.#chosen.size > 0 || [...this.#names.values()].some(Boolean) || this.wwid.value !== "" || this.alias.value !== "";
  }

  /** What the nodes say of a LUN that is not in the matrix: its array and size; undefined if they do not see it. */
  lun(wwid) {
    const found = this.#luns.find((lun) => lun.wwid === wwid);
    return found && { array: arrayOf(found), size: found.size_bytes };
  }

  clear() {
    this.#names.clear();
    this.#chosen.clear();
    this.typed.reset();
    this.pattern.value = "";
    this.#paint();
  }

  #offered() {
    return this.#luns.filter(({ wwid }) => this.#draft.get(WWID + wwid) === null && this.#draft.status(WWID + wwid) !== "removed");
  }

  #paint() {
    const offered = this.#offered();
    const found = this.#found(offered);
    const there = new Set(offered.map(({ wwid }) => wwid));
    for (const wwid of this.#chosen) if (!there.has(wwid)) this.#chosen.delete(wwid);
    text(this.title, offered.length ? t("configuration.seen-title", { n: offered.length }) : t("configuration.seen"));
    keyed(this.body, found.slice(0, MOST), ({ wwid }) => wwid, ({ wwid }) => this.#row(wwid), (row, lun) => this.#update(row, lun));
    this.finder.hidden = this.controls.hidden = offered.length === 0;
    // Once: whoever opens or closes it then has decided.
    if (offered.length && this.#folded === null) this.box.open = !(this.#folded = offered.length > FEW);
    this.none.hidden = offered.length > 0;
    this.table.hidden = found.length === 0;
    this.some.hidden = offered.length === 0 || (found.length > 0 && found.length <= MOST);
    text(this.some, found.length ? t("configuration.seen-more", { n: found.length - MOST }) : t("configuration.no-lun-fits"));
    const n = this.#chosen.size;
    text(this.add, n ? t("configuration.seen-add", { n }) : t("configuration.seen-add-none"));
    this.add.disabled = this.#locked || n === 0;
    this.name.disabled = this.add.disabled || this.pattern.value.trim() === "";
    this.pattern.disabled = this.#locked;
    const shown = found.slice(0, MOST);
    this.all.checked = n > 0 && shown.every(({ wwid }) => this.#chosen.has(wwid));
    this.all.indeterminate = n > 0 && !this.all.checked;
    this.all.disabled = this.#locked;
    for (const control of this.typed.elements) control.disabled = this.#locked;
  }

  #row(wwid) {
    const box = h("input", { type: "checkbox", "aria-label": t("configuration.seen-choose", { wwid }) });
    box.addEventListener("change", () => {
      if (box.checked) this.#chosen.add(wwid);
      else this.#chosen.delete(wwid);
      this.#paint();
    });
    const name = h("input", { type: "text", "aria-label": t("configuration.alias-of", { wwid }), placeholder: t("configuration.no-alias"), autocomplete: "off", spellcheck: "false", maxlength: 127 });
    name.addEventListener("input", () => {
      this.#names.set(wwid, name.value.trim());
      // Whoever names a LUN means to have it.
      if (name.value.trim()) this.#chosen.add(wwid);
      this.#paint();
    });
    return h("tr", { "data-wwid": wwid }, h("td", {}, box), h("th", { scope: "row" }, h("code", { class: "wwid" }, wwid)), h("td", {}, name), h("td"), h("td", {}, named("")));
  }

  #update(row, { wwid, vendor, product, size_bytes: bytes, nodes }) {
    const [choose, , alias, array, on] = row.children;
    const name = this.#names.get(wwid) ?? "";
    if (alias.firstElementChild.value.trim() !== name) alias.firstElementChild.value = name;
    choose.firstElementChild.checked = this.#chosen.has(wwid);
    choose.firstElementChild.disabled = alias.firstElementChild.disabled = this.#locked;
    text(array, [arrayOf({ vendor, product }), bytes && size(bytes)].filter(Boolean).join(" · "));
    const said = Object.entries(nodes).sort(([a], [b]) => compare(a, b)).map(([node, { paths }]) => t("configuration.seen-paths", { node, n: paths }));
    text(on.firstElementChild, said.join(", "));
    attr(row, "data-chosen", this.#chosen.has(wwid));
  }

  /** Those that the words fit, and whatever is typed in. */
  #found(offered) {
    const words = this.#words.split(/\s+/).filter(Boolean);
    const hay = (lun) => [lun.wwid, this.#names.get(lun.wwid), arrayOf(lun), ...Object.keys(lun.nodes)].join("\n").toLowerCase();
    return offered.filter((lun) => words.every((word) => hay(lun).includes(word)) || document.activeElement?.closest("tr")?.dataset.wwid === lun.wwid);
  }

  /** Choose all that are shown, or none of them. */
  #chooseAll(all) {
    for (const { wwid } of this.#found(this.#offered()).slice(0, MOST)) {
      if (all) this.#chosen.add(wwid);
      else this.#chosen.delete(wwid);
    }
    this.#paint();
  }

  /** Give the chosen LUNs that have no name one each, numbered as they stand; names that are taken are left out. */
  #nameChosen() {
    const pattern = this.pattern.value.trim();
    const taken = new Set([...this.#names.values(), ...[...this.#draft.document().values()].map(({ alias }) => alias)]);
    let n = 0;
    for (const { wwid } of this.#offered().filter((lun) => this.#chosen.has(lun.wwid) && !this.#names.get(lun.wwid))) {
      let name;
      do name = numbered(pattern, (n += 1));
      while (taken.has(name));
      this.#names.set(wwid, name);
    }
    this.#paint();
  }

  #add() {
    for (const wwid of this.#chosen) {
      const alias = this.#names.get(wwid) ?? "";
      this.#names.delete(wwid);
      this.#draft.put(WWID + wwid, alias ? { alias } : {});
    }
    this.#chosen.clear();
    this.#paint();
  }

  #addTyped() {
    const wwid = this.wwid.value.trim();
    const alias = this.alias.value.trim();
    const there = this.#draft.get(WWID + wwid) !== null;
    this.typedFault.hidden = !there;
    if (there) {
      text(this.typedFault, t("configuration.there-already", { name: wwid }));
      return;
    }
    this.#draft.put(WWID + wwid, alias ? { alias } : {});
    this.typed.reset();
    this.wwid.focus();
  }
}
