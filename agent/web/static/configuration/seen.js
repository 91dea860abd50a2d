// LUNs that nodes see and that are not allow-listed: choose some, name them, and take them into the draft together. One may be typed in, too.

import { get } from "../api.js";
import { attr, button, freshId, h, keyed, named, text } from "../dom.js";
import { serially } from "../live.js";
import { compare, size, t } from "../strings.js";
import { WWID } from "./draft.js";

const EVENTS = ["lun", "cell", "cells", "node", "edit", "late-edit", "more", "resumed", "gap"];
const MOST = 200;

const arrayOf = ({ vendor, product }) => [vendor, product].filter(Boolean).join(" ");

export class Seen {
  #draft;
  #luns = [];
  #chosen = new Set();
  #names = new Map();
  #active = false;
  #locked = true;

  constructor({ app, draft }) {
    this.#draft = draft;
    this.load = serially(async () => {
      this.#luns = (await get("/v1/luns/scan")).luns;
      this.#paint();
    }, app.failed);
    for (const kind of EVENTS) app.live.on(kind, () => this.#active && this.load());
    this.all = h("input", { type: "checkbox", "aria-label": t("configuration.seen-all") });
    this.all.addEventListener("change", () => this.#chooseAll(this.all.checked));
    this.body = h("tbody");
    this.table = h("div", { class: "scrolls" }, h("table", { class: "plain seen-table", "aria-label": t("configuration.seen") },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.all), ["wwid", "alias", "array", "seen-on"].map((name) => h("th", { scope: "col" }, t(`configuration.column.${name}`))))), this.body));
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
    this.element = h("section", { class: "card seen", "aria-label": t("configuration.seen") },
      this.title, this.none, this.table, this.some, h("div", { class: "row-of-controls" }, this.add), h("details", {}, h("summary", {}, t("configuration.add-typed")), this.typed));
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
    return [...this.#names.values()].some(Boolean) || this.wwid.value !== "" || this.alias.value !== "";
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
    for (const row of this.body.children) row.querySelector("input[type=text]").value = "";
    this.#paint();
  }

  #offered() {
    return this.#luns.filter(({ wwid }) => this.#draft.get(WWID + wwid) === null && this.#draft.status(WWID + wwid) !== "removed");
  }

  #paint() {
    const offered = this.#offered();
    const there = new Set(offered.map(({ wwid }) => wwid));
    for (const wwid of this.#chosen) if (!there.has(wwid)) this.#chosen.delete(wwid);
    text(this.title, offered.length ? t("configuration.seen-title", { n: offered.length }) : t("configuration.seen"));
    keyed(this.body, offered.slice(0, MOST), ({ wwid }) => wwid, ({ wwid }) => this.#row(wwid), (row, lun) => this.#update(row, lun));
    this.table.hidden = this.add.hidden = offered.length === 0;
    this.none.hidden = offered.length > 0;
    this.some.hidden = offered.length <= MOST;
    text(this.some, t("configuration.seen-more", { n: offered.length - MOST }));
    const n = this.#chosen.size;
    text(this.add, n ? t("configuration.seen-add", { n }) : t("configuration.seen-add-none"));
    this.add.disabled = this.#locked || n === 0;
    this.all.checked = n > 0 && n === Math.min(offered.length, MOST);
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
    choose.firstElementChild.checked = this.#chosen.has(wwid);
    choose.firstElementChild.disabled = alias.firstElementChild.disabled = this.#locked;
    text(array, [arrayOf({ vendor, product }), bytes && size(bytes)].filter(Boolean).join(" · "));
    const said = Object.entries(nodes).sort(([a], [b]) => compare(a, b)).map(([node, { paths }]) => t("configuration.seen-paths", { node, n: paths }));
    text(on.firstElementChild, said.join(", "));
    attr(row, "data-chosen", this.#chosen.has(wwid));
  }

  #chooseAll(all) {
    this.#chosen = new Set(all ? this.#offered().slice(0, MOST).map(({ wwid }) => wwid) : []);
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
