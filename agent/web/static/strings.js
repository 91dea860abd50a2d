// The words of the page, in the browser's language, and numbers, sizes and times as that language writes them.

import de from "./strings/de.js";
import en from "./strings/en.js";

const CATALOGUES = { en, de };
const UNITS = ["byte", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** The language of the page: the browser's first that there is a catalogue of. */
export const language = (navigator.languages ?? [navigator.language])
  .map((tag) => tag.toLowerCase().split("-")[0])
  .find((tag) => tag in CATALOGUES) ?? "en";
const regional = (navigator.languages ?? []).find((tag) => tag.toLowerCase().startsWith(language)) ?? language;

const words = CATALOGUES[language];
const numbers = once(() => new Intl.NumberFormat(regional));
const collator = once(() => new Intl.Collator(regional, { numeric: true, sensitivity: "base" }));
const sizes = once(() => new Intl.NumberFormat(regional, { maximumSignificantDigits: 3 }));
const clock = once(() => new Intl.DateTimeFormat(regional, { hour: "2-digit", minute: "2-digit", second: "2-digit" }));
const dated = once(() => new Intl.DateTimeFormat(regional, { dateStyle: "medium", timeStyle: "medium" }));

/** What is made when it is first asked for: a formatter takes milliseconds to make, and the first view needs few. */
function once(make) {
  let made = null;
  return () => (made ??= make());
}

/**
 * The text `key`, with `{name}` replaced by values. A text that depends on a number `n` is an object of plural forms (`one`, `other`).
 * A key that is not in the catalogue is a fault of the page.
 */
export function t(key, values = {}) {
  let found = words[key];
  if (found === undefined) throw new RangeError(`no text ${key}`);
  if (typeof found === "object") found = values.n === 1 ? found.one : found.other; // as both languages have it
  return found.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : String(value);
  });
}

/** The text `key` if the catalogue has it, else `other`: for words that the agent may have more of than the page knows. */
export function tOr(key, other) {
  return words[key] === undefined ? other : t(key);
}

/** A number. */
export const number = (value) => (Number.isInteger(value) && Math.abs(value) < 1000 ? String(value) : numbers().format(value));

/** A size in bytes, in binary units. */
export function size(bytes) {
  if (!Number.isFinite(bytes)) return "";
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  return `${sizes().format(bytes / 2 ** (10 * power))} ${UNITS[power]}`;
}

/** A time of today as the clock shows it, another one with its date. Takes a Date or RFC 3339 text. */
export function time(value) {
  const when = value instanceof Date ? value : new Date(value);
  if (Number.isNaN(when.getTime())) return "";
  return when.toDateString() === new Date().toDateString() ? clock().format(when) : dated().format(when);
}

/** How long ago, in one unit. */
export function ago(seconds) {
  const [value, unit] = seconds < 120 ? [seconds, "second"] : seconds < 7200 ? [seconds / 60, "minute"] : seconds < 172_800 ? [seconds / 3600, "hour"] : [seconds / 86_400, "day"];
  return new Intl.NumberFormat(regional, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }).format(value);
}

/** Compare names as people sort them, numbers within them by value. */
export const compare = (a, b) => collator().compare(a, b);

/** Compare codes, such as WWIDs: digits within hexadecimal ones are no numbers. */
export const compareCodes = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Compare LUNs, `[alias, wwid]` each: those that have a name by it, then the others by their WWIDs. */
export function compareLuns([alias, wwid], [otherAlias, otherWwid]) {
  if (!alias !== !otherAlias) return alias ? -1 : 1;
  return (alias && compare(alias, otherAlias)) || compareCodes(wwid, otherWwid);
}

/** Put the texts into markup that asks for them by `data-text`, `data-label` (aria-label) and `data-placeholder`. */
export function localize(root) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  for (const element of root.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}
