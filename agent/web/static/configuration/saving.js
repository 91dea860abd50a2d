// What a save writes: taken once, at the click. What is asked about is what is written, whatever is typed meanwhile.

import { read, write } from "../api.js";
import { dialog, h } from "../dom.js";
import { keyName } from "../history/keys.js";
import { t } from "../strings.js";
import { documentOf } from "./draft.js";
import { answersView } from "./preview.js";

/**
 * The writes that save a draft and the overrides, as both are now: `{method, path, content, digest, query}` with `removed`, the keys that go;
 * `send()`, after which what was typed since is wanted on top of what was saved; and for an answer that never came `isIn(theirs)`, whether all
 * of it is in what was read later, and `settle(theirs)`, which goes on from there.
 */
export function writesOf(draft, overrides, reason = "") {
  const found = [];
  if (draft.dirty) found.push(sectionsOf(draft, reason));
  if (overrides.dirty) found.push(textOf(overrides, reason));
  return found;
}

function sectionsOf(draft, reason) {
  const wanted = draft.snapshot();
  const one = { method: "POST", path: "/v1/config/edits", content: { body: { changes: draft.changes(), reason } }, digest: draft.digest };
  return {
    ...one,
    removed: draft.touched.filter((key) => draft.status(key) === "removed"),
    async send() {
      const { digest } = await write(one.method, one.path, { ...one.content, digest: one.digest });
      const now = await read("/v1/config").catch(() => null);
      // If somebody wrote after it, or it cannot be read, the draft stands on what was sent until it is compared or read.
      draft.written(wanted, now?.digest === digest ? documentOf(now.body) : draft.document(wanted), digest);
    },
    isIn: ({ document }) => draft.isIn(wanted, document),
    settle: ({ document, digest }) => draft.written(wanted, document, digest),
  };
}

function textOf(overrides, reason) {
  const { text, digest: from } = overrides;
  const one = { method: "PUT", path: "/v1/overrides", content: { text }, digest: from, query: reason ? { reason } : {} };
  return {
    ...one,
    removed: [],
    async send() {
      const { digest } = await write(one.method, one.path, { ...one.content, digest: from, query: one.query });
      overrides.rebase(text, digest, overrides.text);
    },
    isIn: (theirs) => theirs.text === text,
    settle: ({ textDigest }) => overrides.rebase(text, textDigest, overrides.text),
  };
}

/** Ask whether it is meant, if a write takes sections away or is warned about. `answers` are those of the dry runs. */
export async function sure(writes, answers, names) {
  const removed = writes.flatMap((each) => each.removed);
  if (!removed.length && !answers.some(({ warnings }) => warnings.length)) return true;
  return dialog({
    title: t("configuration.sure"),
    // It scrolls by itself, so that what it begins with, the warnings, and the buttons below it are in view.
    content: h("div", { class: "answers long", tabindex: 0, role: "group", "aria-label": t("configuration.sure-what") },
      removed.length ? h("p", {}, t("configuration.sure-removed", { what: removed.map((key) => keyName(key, names)).join(", ") })) : null,
      answersView(answers)),
    action: t("configuration.save"), cancel: t("shell.cancel"), danger: removed.length > 0,
  });
}
