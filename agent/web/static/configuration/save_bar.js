// What is changed and not saved, what is wrong with it, the reason, and the buttons that end it: below the panel as long as there is anything.

import { attr, button, freshId, h, keyed, text } from "../dom.js";
import { t } from "../strings.js";

const SAID = 4;

export class SaveBar {
  constructor({ save, discard, preview, goTo }) {
    const id = freshId("reason");
    this.goTo = goTo;
    this.what = h("p", { role: "status" });
    this.findings = h("ul", { class: "findings", "aria-label": t("configuration.findings") });
    this.fault = h("p", { class: "fault", role: "alert", hidden: true }, h("bdi"), " ", h("a", { href: "#/conflicts" }, t("configuration.to-conflict")));
    this.input = h("input", { id, type: "text", name: "reason", maxlength: 4096, autocomplete: "off", placeholder: t("configuration.reason-why") });
    this.discard = button(t("configuration.discard"), discard, { class: "quiet" });
    this.preview = button(t("configuration.part.preview"), preview);
    this.save = h("button", { type: "submit", class: "primary" }, t("configuration.save"));
    this.element = h("form", { class: "save-bar", "aria-label": t("configuration.unsaved"), hidden: true },
      this.what, this.findings, this.fault,
      h("div", { class: "row-of-controls" }, h("label", { class: "reason", for: id }, t("configuration.reason"), this.input), this.discard, this.preview, this.save));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      save();
    });
  }

  get reason() {
    return this.input.value.trim();
  }

  set reason(value) {
    this.input.value = value;
  }

  update({ said, problems, fault, busy, locked, name }) {
    // A reason that somebody typed is not put out of sight.
    this.element.hidden = said.length === 0 && this.reason === "";
    const more = said.length - SAID;
    text(this.what, said.length === 0 ? t("configuration.preview-nothing") : `${t("configuration.changes", { n: said.length })}: ${[...said.slice(0, SAID), ...(more > 0 ? [t("configuration.more-changes", { n: more })] : [])].join(", ")}`);
    keyed(this.findings, problems, (found) => `${found.severity} ${found.key} ${found.option} ${found.message}`,
      (found) => h("li", { class: "finding", "data-severity": found.severity },
        h("span", { class: "visually-hidden" }, `${t(`configuration.severity.${found.severity}`)}: `), h("bdi", {}, found.message),
        found.key && button(t("configuration.show"), () => this.goTo(found), { class: "small quiet", "aria-label": t("configuration.show-what", { what: [name(found.key), found.option].filter(Boolean).join(", ") }) }),
        found.hint ? h("bdi", { class: "hint" }, found.hint) : null));
    this.findings.hidden = problems.length === 0;
    const [message, link] = this.fault.children;
    link.hidden = fault?.code !== "conflict-open";
    // The link is the way there; the hint names the commands.
    text(message, fault ? [fault.message, link.hidden ? fault.hint : ""].filter(Boolean).join(" · ") : "");
    if (!link.hidden) attr(link, "href", `#/conflicts?${new URLSearchParams({ key: fault.key })}`);
    this.fault.hidden = !fault;
    this.save.disabled = busy || locked || said.length === 0 || problems.some(({ severity }) => severity === "error");
    this.discard.disabled = busy;
    text(this.save, t(busy ? "configuration.saving" : "configuration.save"));
  }
}
