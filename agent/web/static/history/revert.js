// Undoing an edit: what that would change is shown first, and again if the configuration changed while it was looked at.

import { read, segment, write } from "../api.js";
import { dialog, fill, h } from "../dom.js";
import { t } from "../strings.js";
import { diffView, unifiedLines } from "./diff.js";
import { short } from "./keys.js";

/** Ask, and undo the edit; the edit that did it, or null. Raises a Problem if it cannot be undone. */
export async function revert(edit) {
  const path = `/v1/history/${segment(edit)}`;
  const shown = h("div", { class: "revert-preview" });
  let digest;

  async function look() {
    ({ digest } = await read(path));
    const { body } = await write("POST", `${path}/revert`, { body: {}, digest, dryRun: true });
    const lines = unifiedLines(body.diff);
    fill(shown,
      lines.length ? diffView(lines) : h("p", { class: "muted" }, t("history.revert.no-diff")),
      body.warnings.map((warning) => h("p", { class: "revert-warning" }, [warning.message, warning.hint].filter(Boolean).join(" · "))));
  }

  await look();
  const reason = h("input", { type: "text", maxlength: 4096, name: "reason", autocomplete: "off" });
  let made = null;
  const done = await dialog({
    title: t("history.revert.title", { edit: short(edit) }),
    content: [h("p", {}, t("history.revert.what")), shown, h("label", { class: "field" }, t("history.revert.reason"), reason)],
    action: t("history.revert.action"),
    cancel: t("shell.cancel"),
    collect: () => ({ reason: reason.value }),
    confirm: async (body) => {
      try {
        ({ body: { edit: made } } = await write("POST", `${path}/revert`, { body, digest }));
      } catch (fault) {
        if (fault.status !== 412) throw fault;
        await look();
        throw new Error(t("history.revert.stale"));
      }
    },
  });
  return done ? made : null;
}
