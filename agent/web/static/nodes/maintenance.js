// The switch of a node's maintenance: beginning it asks for a reason and an end.

import { segment, write } from "../api.js";
import { attr, dialog, freshId, h, text } from "../dom.js";
import { t, time } from "../strings.js";

const HOUR = 3600;
/** How long it may last, in seconds; the first is what is chosen if nobody chooses. */
const LENGTHS = [["4h", 4 * HOUR], ["1h", HOUR], ["1d", 24 * HOUR], ["1w", 7 * 24 * HOUR], ["open", null]];

export class Maintenance {
  #app;
  #node;
  #present = null;

  constructor(app, node) {
    this.#app = app;
    this.#node = node;
    const label = freshId("maintenance");
    this.toggle = h("button", { type: "button", class: "switch", role: "switch", "aria-checked": "false", "aria-labelledby": label, on: { click: () => this.#toggle() } });
    this.said = h("bdi", { class: "muted" });
    this.element = h("div", { class: "maintenance" }, this.toggle, h("span", { id: label }, t("nodes.maintenance")), this.said);
  }

  /** `maintenance`: `{reason, since, expires}` or null; `member` is null for one that has gone. */
  update(member) {
    this.#present = member?.maintenance ?? null;
    attr(this.toggle, "aria-checked", this.#present ? "true" : "false");
    this.toggle.disabled = this.#app.me?.may_write === false || member?.state !== "joined";
    text(this.said, maintenanceText(this.#present) || t("nodes.maintenance.off"));
  }

  async #toggle() {
    try {
      if (this.#present) await this.#write({ on: false });
      else await this.#begin();
    } catch (fault) {
      this.#app.failed(fault);
    }
  }

  async #begin() {
    const reason = h("input", { type: "text", maxlength: 4096, name: "reason", autocomplete: "off" });
    const length = h("select", { name: "length" }, LENGTHS.map(([name]) => h("option", { value: name }, t(`nodes.maintenance.for.${name}`))));
    const done = await dialog({
      title: t("nodes.maintenance.title", { node: this.#node }),
      content: [
        h("p", {}, t("nodes.maintenance.what")),
        h("label", { class: "field" }, t("nodes.maintenance.reason"), reason),
        h("label", { class: "field" }, t("nodes.maintenance.length"), length),
      ],
      action: t("nodes.maintenance.begin"),
      cancel: t("shell.cancel"),
      collect: () => ({ on: true, reason: reason.value, expires_seconds: LENGTHS.find(([name]) => name === length.value)[1] }),
      confirm: (body) => this.#write(body),
    });
    if (done) this.toggle.focus();
  }

  async #write(body) {
    await write("PUT", `/v1/members/${segment(this.#node)}/maintenance`, { body });
    this.#app.notice(t(body.on ? "nodes.maintenance.begun" : "nodes.maintenance.ended", { node: this.#node }));
  }
}

/** Why a node is in maintenance and until when, in a line; empty if it is not. */
export function maintenanceText(maintenance) {
  if (!maintenance) return "";
  const until = maintenance.expires ? t("nodes.maintenance.until", { until: time(maintenance.expires) }) : t("nodes.maintenance.no-end");
  return [t("nodes.maintenance.since", { since: time(maintenance.since) }), until, maintenance.reason].filter(Boolean).join(" · ");
}
