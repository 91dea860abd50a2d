// The storages: what each stands on down to the LUN, the nodes that follow from it, how it fares there, and its options.

import { get } from "../api.js";
import { attr, button, freshId, h, keyed, named, text } from "../dom.js";
import { serially } from "../live.js";
import { reasonText, stateWord } from "../multipath/cells.js";
import { compare, size, t } from "../strings.js";
import { STORAGE, WWID } from "./draft.js";
import { OptionForm, paintFaults } from "./option_form.js";

const EVENTS = ["edit", "late-edit", "lun", "cell", "cells", "node", "more", "resumed", "gap"];
const SAID = 4;
const MOST_LINKS = 8;

export class Storages {
  #draft;
  #model;
  #rows = new Map();
  #faults = () => [];
  #locked = true;
  #told = new Map();

  #active = false;

  constructor({ app, draft, model, types, matrix }) {
    this.#draft = draft;
    this.#model = model;
    this.matrix = matrix;
    this.load = serially(async () => {
      const { storages } = await get("/v1/storages");
      this.#told = new Map(storages.map((storage) => [storage.id, storage]));
      this.#paint();
    }, app.failed, () => this.#active);
    for (const kind of EVENTS) app.live.on(kind, () => this.#active && this.load());
    this.list = h("ul", { class: "storages" });
    this.none = h("p", { class: "muted" }, t("configuration.no-storages"));
    const [type, id] = [freshId("type"), freshId("id")];
    this.type = h("select", { id: type }, types.map((word) => h("option", { value: word }, word)));
    this.id = h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", maxlength: 100, required: true });
    this.fault = h("p", { class: "fault", role: "alert", hidden: true });
    this.add = h("form", { class: "card add-form", "aria-label": t("configuration.add-storage") },
      h("label", { class: "field", for: type }, t("configuration.column.type"), this.type),
      h("label", { class: "field", for: id }, t("configuration.column.id"), this.id),
      h("button", { type: "submit" }, t("configuration.add-storage")), this.fault);
    this.add.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    this.element = h("div", { class: "part" }, this.none, this.list, this.add);
  }

  /** Whether it is shown: only then it is kept up to date. */
  set active(active) {
    if (active && !this.#active) this.load();
    this.#active = active;
  }

  /** Whether something is typed that is in no draft yet. */
  get typing() {
    return this.id.value !== "";
  }

  clear() {
    this.add.reset();
  }

  update(faults, locked) {
    this.#faults = faults;
    this.#locked = locked;
    this.#paint();
  }

  focus(key, option) {
    const row = this.#rows.get(key);
    if (!row) return false;
    row.toggle(true);
    this.#paint();
    row.element.scrollIntoView({ block: "center" });
    if (!row.form?.focus(option)) row.open.focus();
    return true;
  }

  #add() {
    const id = this.id.value.trim();
    const key = STORAGE + id;
    const there = this.#draft.get(key) !== null;
    this.fault.hidden = !there;
    if (there) {
      text(this.fault, t("configuration.there-already", { name: id }));
      return;
    }
    this.#draft.put(key, { type: this.type.value });
    this.add.reset();
    this.focus(key, null);
  }

  #paint() {
    const keys = this.#draft.keys(STORAGE).sort(compare);
    const there = new Set(keys);
    for (const key of this.#rows.keys()) if (!there.has(key)) this.#rows.delete(key);
    keyed(this.list, keys, (key) => key, (key) => this.#row(key).element, (_, key) => this.#row(key).update(this.#told.get(key.slice(STORAGE.length)), this.#faults(key), this.#locked));
    this.none.hidden = keys.length > 0;
    for (const control of this.add.elements) control.disabled = this.#locked;
  }

  #row(key) {
    if (!this.#rows.has(key)) this.#rows.set(key, new StorageCard({ key, draft: this.#draft, model: this.#model, matrix: this.matrix, paint: () => this.#paint() }));
    return this.#rows.get(key);
  }
}

class StorageCard {
  #open = false;

  constructor({ key, draft, model, matrix, paint }) {
    const id = key.slice(STORAGE.length);
    const heading = freshId("storage");
    Object.assign(this, { key, draft, model, matrix, id, form: null });
    this.kind = h("span", { class: "muted" });
    this.badge = h("span", { class: "change" });
    this.state = h("span", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), h("span"));
    this.open = button(t("configuration.options"), () => {
      this.toggle(!this.#open);
      paint();
    }, { class: "small", "aria-expanded": "false", "aria-label": t("configuration.options-of", { wwid: id }) });
    this.remove = button(t("configuration.remove"), () => draft.put(key, null), { class: "small danger", "aria-label": t("configuration.remove-of", { name: id }) });
    this.undo = button(t("configuration.undo"), () => draft.revert(key), { class: "small", "aria-label": t("configuration.undo-of", { name: id }) });
    this.chain = h("ol", { class: "chain", "aria-label": t("configuration.chain") });
    this.nodes = h("ul", { class: "on-nodes", "aria-label": t("configuration.on-nodes") });
    this.why = h("p", { class: "muted" });
    this.reasons = h("ul", { class: "faults", "aria-label": t("configuration.node-reasons") });
    this.told = h("ul", { class: "plain-list" });
    this.found = h("details", { class: "node-facts" }, h("summary", {}, t("configuration.node-facts")), this.told);
    this.said = h("p", { class: "muted said-options" });
    this.faults = h("ul", { class: "faults" });
    this.options = h("div", { class: "storage-options", hidden: true });
    this.element = h("li", { class: "card storage", "aria-labelledby": heading },
      h("header", {}, h("h2", { id: heading }, named(id)), this.kind, this.badge, this.state, h("div", { class: "row-of-controls" }, this.open, this.undo, this.remove)),
      this.faults, this.chain, h("div", { class: "nodes-line" }, this.why, this.nodes), this.reasons, this.found, this.said, this.options);
  }

  toggle(open) {
    this.#open = open;
  }

  update(told, faults, locked) {
    const { draft, key } = this;
    const status = draft.status(key);
    const gone = draft.get(key) === null;
    const options = draft.get(key) ?? draft.base.get(key);
    const open = this.#open && !gone;
    text(this.kind, options.type ?? "");
    attr(this.element, "data-change", status || null);
    text(this.badge, status ? t(`configuration.${status}`) : "");
    const state = told?.state;
    this.state.hidden = !state;
    if (state) {
      attr(this.state, "data-state", state);
      attr(this.state.firstElementChild, "data-state", state);
      text(this.state.lastElementChild, stateWord(state));
    }
    paintFaults(this.faults, faults.filter(({ option }) => !open || !option || option === "type"));
    this.#paintChain(options, told);
    this.#paintNodes(options, told);
    const said = Object.entries(options).filter(([name]) => !["type", "nodes", "base", "vgname"].includes(name)).map(([name, value]) => `${name} ${value}`);
    text(this.said, said.slice(0, SAID).join(" · ") + (said.length > SAID ? ` · ${t("configuration.more-options", { n: said.length - SAID })}` : ""));
    this.said.hidden = said.length === 0 || open;
    attr(this.open, "aria-expanded", String(open));
    this.open.disabled = gone;
    this.remove.hidden = gone || locked;
    this.undo.hidden = !status || locked;
    this.options.hidden = !open;
    if (open) this.#paintForm(options, faults, locked);
  }

  #paintForm({ type }, faults, locked) {
    if (this.form === null) {
      this.form = new OptionForm({
        model: this.model[type] ?? [], skip: ["type"],
        read: () => this.draft.get(this.key), before: () => this.draft.base.get(this.key),
        write: (option, value) => this.draft.set(this.key, option, value),
      });
      this.options.append(this.form.element);
    }
    this.form.update(faults, locked);
  }

  /** From the storage down to the LUNs, with the storage that a LUN is offered by between. */
  #paintChain(options, told) {
    const links = [{ key: "own", kind: options.type ?? "", name: options.vgname ?? this.id }];
    const base = /^([^:]+):(.+)$/.exec(options.base ?? "");
    if (base) {
      links.push({ key: "base", kind: this.draft.get(STORAGE + base[1])?.type ?? "?", name: base[1] });
      links.push(this.#lun(base[2]));
    } else {
      const luns = (told?.luns ?? []).map(({ wwid }) => this.#lun(wwid));
      links.push(...luns.slice(0, MOST_LINKS));
      if (luns.length > MOST_LINKS) links.push({ key: "more", kind: "", name: t("configuration.more-luns", { n: luns.length - MOST_LINKS }) });
    }
    keyed(this.chain, links, ({ key }) => key, () => h("li", {}, h("span", { class: "muted" }), named("")), (item, { key, kind, name, title }) => {
      item.classList.toggle("beside", !base && key !== "own");
      text(item.firstElementChild, kind);
      text(item.lastElementChild, name);
      attr(item, "title", title);
    });
  }

  #lun(wwid) {
    const key = WWID + wwid;
    return { key: wwid, kind: "LUN", name: (this.draft.base.get(key) ?? this.draft.get(key))?.alias || wwid, title: wwid };
  }

  /** The nodes that follow: where the storage is, and of a LUN under it where that is expected. */
  #paintNodes(options, told) {
    const nodes = Object.entries(told?.status ?? {});
    keyed(this.nodes, nodes, ([node]) => node,
      () => h("li", { class: "state" }, h("span", { class: "mark", "aria-hidden": "true" }), named("")),
      (item, [node, { state }]) => {
        attr(item, "data-state", state);
        attr(item.firstElementChild, "data-state", state);
        text(item.lastElementChild, node);
        attr(item, "title", stateWord(state));
        attr(item, "aria-label", `${node}: ${stateWord(state)}`);
      });
    this.#paintReasons(nodes);
    const where = options.nodes ? t("configuration.nodes-named", { nodes: options.nodes.replaceAll(",", ", ") }) : t("configuration.nodes-all");
    const under = /:(.+)$/.exec(options.base ?? "");
    const expected = under && this.matrix.get(`multipath.map ${under[1]}`)?.expected;
    const luns = expected ? t("configuration.lun-expected", { lun: this.#lun(under[1]).name, nodes: expected.join(", ") || t("multipath.nobody") }) : "";
    text(this.why, [options.disable ? t("configuration.disabled") : where, luns].filter(Boolean).join(" · "));
  }

  /** Why it is not well on a node, and what each node found: its volume group, or its sessions. */
  #paintReasons(nodes) {
    const reasons = nodes.flatMap(([node, { state, reasons: codes, sessions }]) => [
      ...(codes.length ? [{ severity: "warning", message: `${node}: ${stateWord(state)}: ${codes.map(reasonText).join("; ")}` }] : []),
      ...(sessions?.missing.length ? [{ severity: "warning", message: `${node}: ${t("configuration.portals-missing", { portals: sessions.missing.join(", ") })}` }] : []),
      ...(sessions?.errors ?? []).map(({ message, hint }) => ({ severity: "warning", message: `${node}: ${message}`, hint })),
    ]);
    paintFaults(this.reasons, reasons);
    const told = nodes.flatMap(([node, { vg, sessions }]) => [vg && [node, this.#groupText(vg)], sessions && [node, t("configuration.sessions", sessions)]]).filter(Boolean);
    keyed(this.told, told, ([node]) => node, () => h("li"), (item, [node, what]) => text(item, `${node}: ${what}`));
    this.found.hidden = told.length === 0;
  }

  #groupText({ name, size_bytes: bytes, free_bytes: free, missing_pvs: missing, on, volumes, active_volumes: active }) {
    return [
      name,
      bytes && t("configuration.vg-free", { free: size(free), size: size(bytes) }),
      on.length && t("configuration.vg-on", { luns: on.map((wwid) => this.#lun(wwid).name).join(", ") }),
      missing && t("configuration.vg-missing", { n: missing }),
      t("configuration.vg-volumes", { n: volumes, active }),
    ].filter(Boolean).join(" · ");
  }
}
