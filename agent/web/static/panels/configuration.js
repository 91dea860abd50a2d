// Configuration: a draft of the cluster's options, LUNs, storages and overrides, checked while it is typed and saved as one edit.

import { get, Problem, read, UNREACHABLE } from "../api.js";
import { Defaults } from "../configuration/defaults.js";
import { DEFAULTS, documentOf, Draft, STORAGE, WWID } from "../configuration/draft.js";
import { Luns } from "../configuration/luns.js";
import { paintFaults } from "../configuration/option_form.js";
import { Overrides } from "../configuration/overrides.js";
import { Preview, tryOut } from "../configuration/preview.js";
import { SaveBar } from "../configuration/save_bar.js";
import { sure, writesOf } from "../configuration/saving.js";
import { Storages } from "../configuration/storages.js";
import { askSections, askText } from "../configuration/three_way.js";
import { attr, dialog, h, text } from "../dom.js";
import { keyName } from "../history/keys.js";
import { serially } from "../live.js";
import { Matrix } from "../multipath/rows.js";
import { lunNames } from "../names.js";
import { number, t } from "../strings.js";

const PARTS = ["defaults", "luns", "storages", "overrides", "preview"];
const OVERRIDES = "overrides";
const EVENTS = ["edit", "late-edit", "conflict-opened", "conflict-resolved", "snapshot-taken", "resumed", "gap"];
const TYPING_MS = 400;

export function mount(root, app) {
  return new Configuration(root, app);
}

/** The part of the panel that a key is changed in. */
function partOf(key) {
  if (key.startsWith(WWID)) return "luns";
  if (key.startsWith(STORAGE)) return "storages";
  return key === OVERRIDES ? OVERRIDES : DEFAULTS;
}

class Configuration {
  #app;
  #names;
  #draft = new Draft();
  #parts = {};
  #part = PARTS[0];
  #wanted = null;
  /** What others made of it since, as it was read last: `{document, digest}` and `{text, digest}`. */
  #theirs = {};
  #by = "";
  #standing = [];
  #found = { problems: [], fault: null };
  #timer = 0;
  #saving = false;
  /** Writes that were sent and never answered. */
  #lost = [];
  #visible = false;

  constructor(root, app) {
    this.#app = app;
    this.#names = lunNames(app);
    this.load = serially(() => this.#load(), app.failed);
    this.check = serially(() => this.#check(), app.failed);
    this.#frame(root);
    serially(() => this.#begin(), app.failed)();
  }

  // -- the shell's calls -----------------------------------------------------------------------------------------------

  show({ part, key = "", option = "" }) {
    this.#part = PARTS.includes(part) ? part : key ? partOf(key) : PARTS[0];
    this.#wanted = key ? { key, option } : null;
    this.#visible = true;
    this.#paintParts();
    this.#goThere();
  }

  hide() {
    this.#visible = false;
    this.#paintParts();
  }

  unsaved() {
    return this.#dirty || this.bar.reason !== "" || Boolean(this.#parts.luns?.seen.typing || this.#parts.storages?.typing);
  }

  get #dirty() {
    return this.#draft.dirty || Boolean(this.#parts.overrides?.dirty);
  }

  // -- the parts -------------------------------------------------------------------------------------------------------

  #frame(root) {
    root.classList.add("configuration");
    this.summary = h("p", { class: "muted", role: "status" }, t("configuration.loading"));
    this.tabs = h("nav", { class: "tabs", "aria-label": t("configuration.parts") });
    for (const name of PARTS) this.tabs.append(h("a", { href: this.#app.address("configuration", { part: name }), "data-part": name }, h("span", {}, t(`configuration.part.${name}`)), h("span", { class: "count muted" })));
    this.readOnly = h("p", { class: "card told", hidden: true }, t("configuration.read-only"));
    this.changed = h("div", { class: "card told moved", role: "status", hidden: true }, h("span", {}), h("button", { type: "button", class: "small", on: { click: () => this.#compare() } }, t("configuration.compare")));
    this.problems = h("section", { class: "card told", "aria-label": t("configuration.standing"), hidden: true }, h("h2", {}, t("configuration.standing")), h("ul", { class: "faults" }));
    this.body = h("div", { class: "parts" });
    this.bar = new SaveBar({ save: () => this.#save(), discard: () => this.#discard(), preview: () => this.#app.go("configuration", { part: "preview" }), goTo: (found) => this.#app.go("configuration", { part: partOf(found.key), key: found.key, option: found.option }) });
    root.append(h("div", { class: "panel-head" }, h("h1", {}, t("configuration.title")), this.summary), this.tabs, this.readOnly, this.changed, this.problems, this.body, this.bar.element);
  }

  async #begin() {
    const app = this.#app;
    const model = await get("/v1/options");
    const draft = this.#draft;
    const matrix = (app.matrix ??= new Matrix(app.live, app.failed));
    this.#parts = {
      defaults: new Defaults({ draft, model: model.options.defaults }),
      luns: new Luns({ app, draft, model: model.options.wwid, matrix }),
      storages: new Storages({ app, draft, model: model.options, types: model.storage_types, matrix }),
      overrides: new Overrides({ app, changed: () => this.#edited() }),
      preview: new Preview({ app, parts: () => (this.#moved.sections || this.#moved.text ? null : this.#writes()) }),
    };
    for (const name of PARTS) {
      this.#parts[name].element.hidden = true;
      this.body.append(this.#parts[name].element);
    }
    draft.on("changed", () => this.#edited());
    matrix.on("changed", () => this.#visible && this.#part === "luns" && this.#parts.luns.refresh());
    for (const kind of EVENTS) app.live.on(kind, this.load);
    app.live.on("edit", ({ author }) => (this.#by = author));
    app.conflicts.on("changed", () => this.#update());
    for (const kind of ["state", "me"]) app.live.on(kind, () => this.#update());
    matrix.load();
    await this.load();
    this.#paintParts();
    this.#goThere();
  }

  #paintParts() {
    for (const link of this.tabs.children) {
      const name = link.dataset.part;
      attr(link, "aria-current", name === this.#part ? "true" : null);
      if (this.#parts[name]) this.#parts[name].element.hidden = name !== this.#part;
    }
    if (!this.#parts.luns) return;
    for (const [name, part] of [["luns", this.#parts.luns.seen], ["storages", this.#parts.storages], ["preview", this.#parts.preview]]) {
      part.active = this.#visible && this.#part === name;
    }
    this.#update();
  }

  /** Put the focus where the address asks for it, once that is there. */
  #goThere() {
    if (!this.#wanted || this.#draft.digest === null) return;
    const { key, option } = this.#wanted;
    this.#wanted = null;
    this.#parts[this.#part].focus?.(key, option);
  }

  // -- what comes ------------------------------------------------------------------------------------------------------

  async #load() {
    if (this.#saving) return;
    const [config, overrides] = await Promise.all([read("/v1/config"), read("/v1/overrides")]);
    if (this.#saving) return;
    this.#standing = config.body.problems;
    this.#theirs = { document: documentOf(config.body), digest: config.digest, text: overrides.body.text, textDigest: overrides.digest };
    this.#settle();
    if (!this.#draft.dirty) this.#draft.rebase(this.#theirs.document, config.digest);
    if (!this.#parts.overrides.dirty) this.#parts.overrides.rebase(overrides.body.text, overrides.digest);
    this.#update();
    this.#goThere();
  }

  /** What is wanted and stands there already, is saved: its answer was lost, or somebody else wanted the same. */
  #settle() {
    const { sections, text: overrides } = this.#moved;
    if (!sections && !overrides) return;
    const there = [...this.#lost, ...this.#writes()].filter((each) => each.isIn(this.#theirs));
    if (!there.length) return;
    for (const each of there) each.settle(this.#theirs);
    this.#lost = [];
    this.#found = { problems: [], fault: null };
    if (!this.#dirty) this.bar.reason = "";
    this.#app.notice(t("configuration.saved"));
  }

  get #moved() {
    const { digest, textDigest } = this.#theirs;
    return { sections: digest !== undefined && digest !== this.#draft.digest, text: textDigest !== undefined && textDigest !== this.#parts.overrides.digest };
  }

  /** Show both sides and the base, and go on from theirs with what is wanted here. Whether everything was taken up. */
  async #compare() {
    const { sections, text: overrides } = this.#moved;
    const by = this.#by;
    if (sections) {
      const { document, digest } = this.#theirs;
      const wanted = await askSections({ base: this.#draft.base, mine: this.#draft.document(), theirs: document, names: this.#names, by });
      if (wanted === null) return false;
      this.#draft.rebase(document, digest, wanted);
    }
    if (overrides) {
      const { text: theirs, textDigest } = this.#theirs;
      const part = this.#parts.overrides;
      const wanted = await askText({ base: part.base, mine: part.text, theirs, by });
      if (wanted === null) return false;
      part.rebase(theirs, textDigest, wanted);
    }
    this.#lost = [];
    this.#edited();
    return true;
  }

  // -- what is typed ---------------------------------------------------------------------------------------------------

  #edited() {
    if (!this.#draft.dirty) this.#found = { problems: [], fault: null };
    this.#update();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.check();
      this.#parts.preview.update();
    }, TYPING_MS);
    // With nothing left that is wanted here, what others made of it is what is shown.
    const { sections, text: overrides } = this.#moved;
    if ((sections && !this.#draft.dirty) || (overrides && !this.#parts.overrides.dirty)) this.load();
  }

  /** Let the agent judge the draft as it is now. */
  async #check() {
    if (!this.#draft.dirty || this.#locked || this.#saving || this.#moved.sections) return;
    const asked = this.#draft.snapshot();
    const [answer] = await tryOut(this.#writes().slice(0, 1));
    const now = this.#draft.snapshot();
    if (now.size !== asked.size || [...now].some(([key, options]) => asked.get(key) !== options)) return;
    if (answer instanceof Problem && answer.code === "stale-digest") return void this.load();
    this.#found = answer instanceof Problem ? { problems: answer.problems, fault: answer.problems.length ? null : answer } : { problems: answer.warnings, fault: null };
    this.#update();
  }

  get #locked() {
    return this.#app.me?.may_write === false || this.#app.live.state === "logged-out";
  }

  /** What is wrong with a section: what was found in the draft, and what stands in the configuration as it is. */
  #faults(key) {
    const untouched = this.#draft.status(key) === "";
    return [...this.#conflicts(), ...this.#found.problems, ...(untouched ? this.#standing : [])].filter((found) => found.key === key);
  }

  /** Sections that take no change until their conflict is ended. */
  #conflicts() {
    const address = (key) => this.#app.address("conflicts", { key });
    return (this.#app.conflicts.value?.conflicts ?? []).map(({ key }) => ({ key, option: "", severity: "warning", message: t("configuration.in-conflict"), href: address(key) }));
  }

  #update() {
    if (!this.#parts.luns || this.#draft.digest === null) return;
    const locked = this.#locked;
    const faults = (key) => this.#faults(key);
    // What is not shown is brought up to date when it is.
    if (this.#part === "overrides") this.#parts.overrides.update(faults(OVERRIDES).filter(({ href }) => href), locked);
    else this.#parts[this.#part].update(faults, locked);
    this.readOnly.hidden = this.#app.me?.may_write !== false;
    const { sections, text: overrides } = this.#moved;
    this.changed.hidden = this.#saving || !((sections && this.#draft.dirty) || (overrides && this.#parts.overrides.dirty));
    text(this.changed.firstElementChild, t("configuration.moved", { by: this.#by || t("configuration.three.somebody") }));
    paintFaults(this.problems.lastElementChild, this.#standing);
    this.problems.hidden = this.#standing.length === 0;
    this.#count();
    const touched = this.#draft.touched;
    const said = [...touched, ...(this.#parts.overrides.dirty ? [OVERRIDES] : [])].map((key) => `${keyName(key, this.#names)} (${t(`configuration.${this.#draft.status(key) || "changed"}`)})`);
    const lint = this.#parts.overrides.dirty ? this.#parts.overrides.errors.map((found) => ({ ...found, key: OVERRIDES, option: "" })) : [];
    this.bar.update({ said, problems: [...this.#found.problems.filter(({ key }) => key !== OVERRIDES), ...lint], fault: this.#found.fault, busy: this.#saving, locked, name: (key) => keyName(key, this.#names) });
    this.#app.badge("configuration", this.#dirty ? "•" : "", t("configuration.unsaved"));
  }

  #count() {
    const present = (prefix) => this.#draft.keys(prefix).filter((key) => this.#draft.get(key) !== null).length;
    const lines = this.#parts.overrides.text.split("\n").filter((line) => line.trim() && !line.trim().startsWith("#")).length;
    const counts = { defaults: Object.keys(this.#draft.get(DEFAULTS) ?? {}).length, luns: present(WWID), storages: present(STORAGE), overrides: lines };
    for (const link of this.tabs.children) text(link.lastElementChild, link.dataset.part in counts ? number(counts[link.dataset.part]) : "");
    text(this.summary, t("configuration.summary", { digest: this.#draft.digest.slice(0, 8) }));
  }

  // -- saving ----------------------------------------------------------------------------------------------------------

  #writes(reason = "") {
    return writesOf(this.#draft, this.#parts.overrides, reason);
  }

  async #save() {
    if (!this.#dirty || this.#saving) return;
    this.#saving = true;
    const { reason } = this.bar;
    const writes = this.#writes(reason);
    this.#update();
    try {
      if (await this.#write(writes)) {
        if (this.bar.reason === reason) this.bar.reason = "";
        this.#app.notice(t("configuration.saved"));
      }
      this.#edited(); // meanwhile, perhaps
    } catch (fault) {
      await this.#refused(fault);
    } finally {
      this.#saving = false;
      this.#update();
      await this.load();
    }
  }

  async #write(writes) {
    const answers = await tryOut(writes, { preview: true });
    const refused = answers.find((answer) => answer instanceof Problem);
    if (refused) throw refused;
    if (!(await sure(writes, answers, this.#names))) return false;
    this.#lost = [];
    for (const [index, each] of writes.entries()) {
      try {
        await each.send();
      } catch (fault) {
        if (fault.code === UNREACHABLE) this.#lost = writes.slice(index, index + 1);
        throw fault;
      }
      this.#found = { problems: [], fault: null };
    }
    return true;
  }

  async #refused(fault) {
    if (!(fault instanceof Problem)) throw fault;
    if (fault.code === "stale-digest") {
      this.#saving = false;
      await this.load();
      const { sections, text: overrides } = this.#moved;
      if (!this.#dirty) return;
      if (sections || overrides) {
        if (await this.#compare()) this.#app.notice(t("configuration.compared"));
        return;
      } // what others wrote could not be read: the refusal is told
    }
    const own = fault.problems.filter(({ key }) => key === OVERRIDES);
    if (own.length) this.#parts.overrides.refused(own);
    this.#found = { problems: fault.problems, fault: fault.problems.length ? null : fault };
    const first = fault.problems.find(({ severity }) => severity === "error");
    if (first) this.#app.go("configuration", { part: partOf(first.key), key: first.key, option: first.option });
  }

  async #discard() {
    const sure = await dialog({ title: t("configuration.discard-title"), content: h("p", {}, t("configuration.discard-what")), action: t("configuration.discard"), cancel: t("shell.cancel"), danger: true });
    if (!sure) return;
    this.#lost = [];
    this.#draft.clear();
    this.#parts.overrides.clear();
    this.#parts.luns.seen.clear();
    this.#parts.storages.clear();
    this.bar.reason = "";
    await this.load();
  }
}
