// What an edit changed, in words: its keys by the names that people use, and what was done to each.

import { t, tOr } from "../strings.js";

const PREFIXES = ["wwid/", "storage/", "member/", "ack/maintenance/", "ack/"];
const KEYS_SAID = 3;

/** Whether a key is part of what hosts apply. */
export const forHosts = (key) => key === "defaults" || key === "overrides" || key.startsWith("wwid/") || key.startsWith("storage/");

/** Whether an edit of these keys can be undone by another edit. */
export const revertible = (keys) => keys.length > 0 && keys.every((key) => forHosts(key) || key.startsWith("ack/"));

/** A key as people say it. */
export function keyName(key, names) {
  const prefix = PREFIXES.find((each) => key.startsWith(each));
  if (prefix === undefined) return tOr(`history.key.${key}`, key);
  const id = key.slice(prefix.length);
  return t(`history.key.${prefix}`, { id: prefix === "wwid/" ? names.of(id) : prefix === "ack/" ? pathsOf(id, names) : id });
}

/** The node and the LUN whose paths were accepted. */
function pathsOf(id, names) {
  const slash = id.indexOf("/");
  return `${id.slice(0, slash + 1)}${names.of(id.slice(slash + 1))}`;
}

/** What was done to a key, in a word. */
export function actionWord(key, action) {
  const own = `history.action.${PREFIXES.find((each) => key.startsWith(each))}${action}`;
  return tOr(own, tOr(`history.action.${action}`, action));
}

/** An edit's changes in a line. */
export function summary({ changes, more_keys: more }, names) {
  const said = changes.slice(0, KEYS_SAID).map(({ key, action }) => `${keyName(key, names)} ${actionWord(key, action)}`);
  const left = changes.length - said.length + more;
  if (left > 0) said.push(t("history.more-keys", { n: left }));
  return said.join(", ");
}

/** An edit's name with its actor cut short. */
export function short(edit) {
  const [actor, counter] = String(edit).split(":");
  return `${actor.slice(0, 8)}:${counter}`;
}
