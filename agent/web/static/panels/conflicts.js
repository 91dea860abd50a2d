// Conflicts: sections that were changed on several nodes at once, each with its values and what to do about it.

import { get } from "../api.js";
import { Card } from "../conflicts/card.js";
import { h, keyed, text } from "../dom.js";
import { serially } from "../live.js";
import { lunNames } from "../names.js";
import { t } from "../strings.js";

export function mount(root, app) {
  return new Conflicts(root, app);
}

class Conflicts {
  #app;
  #names;
  #cards = new Map();
  #model = null;
  #wanted = "";

  constructor(root, app) {
    this.#app = app;
    this.#names = lunNames(app);
    root.classList.add("conflicts");
    this.summary = h("p", { class: "muted", role: "status" }, t("conflicts.loading"));
    this.what = h("p", { class: "muted prose" }, t("conflicts.what"));
    this.list = h("ul", { class: "conflict-list" });
    root.append(h("div", { class: "panel-head" }, h("h1", {}, t("conflicts.title")), this.summary), this.what, this.list);
    app.conflicts.on("changed", () => this.#paint());
    app.conflicts.on("failed", app.failed);
    this.#names.on("changed", () => this.#paint());
    for (const kind of ["state", "me"]) app.live.on(kind, () => this.#paint());
    serially(() => this.#begin(), app.failed)();
  }

  show({ key = "" }) {
    this.#wanted = key;
    this.#paint();
  }

  unsaved() {
    return [...this.#cards.values()].some((card) => card.typing);
  }

  async #begin() {
    this.#model = (await get("/v1/options")).options;
    this.#paint();
  }

  #paint() {
    const found = this.#app.conflicts.value?.conflicts;
    if (!found || this.#model === null) return;
    const there = new Set(found.map(({ key }) => key));
    for (const [key, card] of this.#cards) if (!there.has(key) && !card.typing) this.#cards.delete(key);
    const locked = this.#app.me?.may_write === false || this.#app.live.state === "logged-out";
    const ended = [...this.#cards.keys()].filter((key) => !there.has(key)).map((key) => ({ key, ended: true }));
    keyed(this.list, [...found, ...ended], ({ key }) => key, ({ key }) => this.#card(key).element, (_, conflict) => {
      if (conflict.ended) this.#card(conflict.key).end(locked);
      else this.#card(conflict.key).update(conflict, locked);
    });
    text(this.summary, found.length ? t("conflicts.summary", { n: found.length }) : t("conflicts.none"));
    this.what.hidden = found.length === 0;
    if (this.#wanted) {
      this.#cards.get(this.#wanted)?.focus();
      this.#wanted = "";
    }
  }

  #card(key) {
    if (!this.#cards.has(key)) this.#cards.set(key, new Card({ app: this.#app, names: this.#names, model: this.#model, key, done: () => this.#app.conflicts.ask() }));
    return this.#cards.get(key);
  }
}
