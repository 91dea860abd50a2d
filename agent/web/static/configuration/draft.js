// What somebody is about to change: the document as it was read, and what is wanted otherwise. Nothing here is written until it is saved.

import { Emitter } from "../live.js";
import { same, threeWay, wantedOver } from "./merge.js";

export const DEFAULTS = "defaults";
export const WWID = "wwid/";
export const STORAGE = "storage/";

/** The document of `/v1/config` as options by key; a storage's type is one of its options. */
export function documentOf({ sections }) {
  return new Map(sections.map(({ type, id, options }) => {
    if (type === DEFAULTS) return [DEFAULTS, options];
    return type === "wwid" ? [WWID + id, options] : [STORAGE + id, { type, ...options }];
  }));
}

/** A draft of the sections. Emits `changed` after each change of it. */
export class Draft extends Emitter {
  base = new Map();
  digest = null;
  #wanted = new Map();

  /** Whether anything is wanted otherwise. */
  get dirty() {
    return this.#wanted.size > 0;
  }

  /** The keys that are wanted otherwise. */
  get touched() {
    return [...this.#wanted.keys()];
  }

  /** The section as it is wanted; null if there is to be none. */
  get(key) {
    return (this.#wanted.has(key) ? this.#wanted.get(key) : this.base.get(key)) ?? null;
  }

  /** What became of a section: `added`, `removed`, `changed`, or "" for nothing. */
  status(key) {
    if (!this.#wanted.has(key)) return "";
    if (this.#wanted.get(key) === null) return "removed";
    return this.base.has(key) ? "changed" : "added";
  }

  /** All keys that begin so, those that are to go included. */
  keys(prefix) {
    return [...new Set([...this.base.keys(), ...this.#wanted.keys()])].filter((key) => key.startsWith(prefix));
  }

  /** The document with these wishes or the present ones. */
  document(wanted = this.#wanted) {
    const found = new Map(this.base);
    for (const [key, options] of wanted) {
      if (options === null) found.delete(key);
      else found.set(key, options);
    }
    return found;
  }

  /** Set one option; "" takes it away. */
  set(key, option, value) {
    const options = { ...this.get(key) };
    if (value === "") delete options[option];
    else options[option] = value;
    this.put(key, options);
  }

  /** Want a section so; null wants it gone. */
  put(key, options) {
    const before = this.base.get(key) ?? null;
    // A section of defaults without any option and none at all are the same.
    const nothing = key === DEFAULTS && options !== null && Object.keys(options).length === 0;
    const wanted = nothing ? null : options;
    if (same(before, wanted)) this.#wanted.delete(key);
    else this.#wanted.set(key, wanted);
    this.emit("changed", key);
  }

  /** Want a section as it was. */
  revert(key) {
    if (this.#wanted.delete(key)) this.emit("changed", key);
  }

  /** Want everything as it was. */
  clear() {
    this.#wanted.clear();
    this.emit("changed", null);
  }

  /** The draft of another base, with these wishes or the present ones. */
  rebase(document, digest, wanted = this.#wanted) {
    this.base = document;
    this.digest = digest;
    this.#wanted = new Map([...wanted].filter(([key, options]) => !same(document.get(key) ?? null, options)));
    this.emit("changed", null);
  }

  /** What would be sent now. */
  snapshot() {
    return new Map(this.#wanted);
  }

  /** What was sent is in this document: whatever was wanted otherwise since, undone or gone further, is wanted on top of it. */
  written(sent, document, digest) {
    const rows = threeWay(this.document(sent), this.document(), document);
    this.rebase(document, digest, wantedOver(rows, document, new Set(rows.map(({ id }) => id))));
  }

  /** Whether a document has all that was sent, and nothing that clashes with what was wanted otherwise since. */
  isIn(sent, document) {
    const kinds = (base, mine) => threeWay(base, mine, document).map(({ kind }) => kind);
    const saved = this.document(sent);
    return !kinds(this.base, saved).some((kind) => kind === "mine" || kind === "clash") && !kinds(saved, this.document()).includes("clash");
  }

  /** The changes of an edit. */
  changes(wanted = this.#wanted) {
    return [...wanted].map(([key, options]) => {
      if (options === null) return { key, remove: true };
      const before = this.base.get(key) ?? {};
      return {
        key,
        set: Object.fromEntries(Object.entries(options).filter(([option, value]) => before[option] !== value)),
        delete: Object.keys(before).filter((option) => !(option in options)),
      };
    });
  }
}
