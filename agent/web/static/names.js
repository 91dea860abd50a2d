// What people call LUNs: the alias of each allow-listed WWID, as the configuration has it now.

import { Document } from "./live.js";

let known = null;

/** The names for a page: `of(wwid)`, and `changed` when one is another. */
export function lunNames(app) {
  known ??= new LunNames(app.live);
  return known;
}

class LunNames extends Document {
  #aliases = new Map();

  constructor(live) {
    super(live, "/v1/config/wwids", ["edit", "late-edit", "snapshot-taken"]);
    this.on("changed", ({ wwids }) => {
      this.#aliases = new Map(wwids.filter(({ options }) => options.alias).map(({ wwid, options }) => [wwid, options.alias]));
    });
    this.ask();
  }

  /** The alias of a LUN; its WWID if it has none. */
  of(wwid) {
    return this.#aliases.get(wwid) ?? wwid;
  }
}
