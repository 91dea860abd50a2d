// A node's maps, their path groups and paths, as the node told them last. Nothing can be changed here.

import { get, segment } from "../api.js";
import { attr, button, freshId, h, keyed, mark, named, text } from "../dom.js";
import { reasonText, stateWord } from "../multipath/cells.js";
import { cellRank } from "../multipath/query.js";
import { flagsOf, queueingText } from "../multipath/remarks.js";
import { isKnown, paintPath, pathLine, pathName } from "../multipath/paths.js";
import { paced, serially } from "../live.js";
import { compareLuns, number, size, t } from "../strings.js";

const LEAST_GAP_MS = 1000;
const PAGE = 50;

/** Worst first, then by name. */
export function ordered(maps) {
  return maps.sort((a, b) => cellRank(a.state) - cellRank(b.state) || compareLuns([a.alias, a.wwid], [b.alias, b.wwid]));
}

/** The path groups of a map; what is lost is a group of its own, at the end. */
export function groupsOf(map) {
  const { path_groups: groups, missing_paths: missing } = map;
  const line = (path) => ({ ...path, known: isKnown(map), group: null, target: pathName(path.id) });
  const there = new Set(groups.flatMap(({ paths }) => paths.map(({ id }) => id)));
  const lost = missing.filter((id) => !there.has(id)).map((id) => line({ id, class: "lost" }));
  return [
    ...groups.map(({ group, paths }) => ({ key: group, title: t("nodes.maps.group", { group }), paths: paths.map(line) })),
    ...(lost.length ? [{ key: "lost", title: t("nodes.maps.lost"), paths: lost }] : []),
  ];
}

export class Maps {
  #app;
  #node;
  #maps = [];
  #open = new Set();
  #shown = PAGE;
  #active = false;
  #soon;
  #ends;

  constructor(app, node) {
    this.#app = app;
    this.#node = node;
    this.summary = h("p", { class: "muted" }, t("nodes.maps.loading"));
    this.search = h("input", { type: "search", class: "search", placeholder: t("nodes.maps.search"), "aria-label": t("nodes.maps.search"), autocomplete: "off", spellcheck: "false", hidden: true });
    this.search.addEventListener("input", () => {
      this.#shown = PAGE;
      this.#paint();
    });
    this.list = h("ul", { class: "maps" });
    this.more = button(t("nodes.maps.more"), () => this.#showMore(), { class: "small", hidden: true });
    const id = freshId("maps");
    attr(this.list, "aria-labelledby", id);
    this.element = h("section", { class: "maps-part" },
      h("div", { class: "row-of-controls" }, h("h2", { id }, t("nodes.maps.title")), this.summary, this.search), this.list, this.more);
    // The matrix may change many times a second; the maps of a node are long.
    this.#soon = paced(serially(() => this.#read(), (fault) => app.failed(fault), () => this.#active), LEAST_GAP_MS);
    this.#ends = ["matrix", "resumed", "node"].map((kind) => app.live.on(kind, () => this.#active && this.#soon()));
  }

  /** Whether anybody looks. */
  set active(active) {
    if (active === this.#active) return;
    this.#active = active;
    if (active) this.#soon();
  }

  close() {
    this.active = false;
    for (const end of this.#ends) end();
  }

  async #read() {
    this.#maps = ordered((await get(`/v1/nodes/${segment(this.#node)}/maps`)).maps);
    this.#paint();
  }

  #showMore() {
    this.#shown += PAGE;
    this.#paint();
  }

  #paint() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (map) => {
      const hay = [map.wwid, map.alias, map.vendor, map.product, map.device, stateWord(map.state), ...flagsOf(map).map((flag) => flag.text)].join("\n").toLowerCase();
      return words.every((word) => hay.includes(word));
    };
    const found = this.#maps.filter(fits);
    this.search.hidden = this.#maps.length <= 5 && !words.length;
    text(this.summary, words.length ? t("nodes.maps.summary-found", { found: found.length, n: this.#maps.length }) : this.#maps.length ? t("nodes.maps.summary", { n: this.#maps.length }) : t("nodes.maps.none"));
    keyed(this.list, found.slice(0, this.#shown), ({ wwid }) => wwid, ({ wwid }) => this.#item(wwid), (item, map) => this.#paintItem(item, map));
    this.more.hidden = found.length <= this.#shown;
  }

  #item(wwid) {
    const id = freshId("map");
    const body = h("div", { class: "map-groups", id, hidden: true });
    const opener = button("", () => {
      if (!this.#open.delete(wwid)) this.#open.add(wwid);
      this.#paint();
    }, { class: "opener", "aria-controls": id });
    opener.append(mark("unknown"), h("span", { class: "words" }, named("", { class: "map-name" }), named("", { class: "map-sub muted mono" })),
      h("span", { class: "map-state" }, named(""), h("span", { class: "map-flags" })), h("span", { class: "map-paths" }), named("", { class: "muted map-more" }));
    return h("li", {}, opener, body);
  }

  #paintItem(item, map) {
    const [opener, body] = item.children;
    const [shape, words, state, paths, more] = opener.children;
    const open = this.#open.has(map.wwid);
    attr(opener, "aria-expanded", open ? "true" : "false");
    attr(opener, "data-state", map.state);
    attr(shape, "data-state", map.state);
    text(words.firstElementChild, map.alias ?? map.wwid);
    text(words.lastElementChild, map.alias ? map.wwid : "");
    const flags = flagsOf(map);
    const why = map.reasons.filter((code) => flags.every((flag) => flag.code !== code)).map(reasonText);
    const last = map.last ? [t("multipath.cell-last", { state: stateWord(map.last.state) })] : [];
    text(state.firstElementChild, [stateWord(map.state), ...why, ...last].join(", "));
    keyed(state.lastElementChild, flags, (flag) => `${flag.code} ${flag.state}`, (flag) => h("span", { class: "state", "data-state": flag.state }, mark(flag.state), named("")),
      (element, flag) => text(element.lastElementChild, flag.text));
    const { usable, expected } = map.paths;
    text(paths, !isKnown(map) ? "" : expected === null ? t("multipath.paths-count", { usable }) : t("multipath.paths", { usable, expected }));
    text(more, [[map.vendor, map.product].filter(Boolean).join(" "), map.size_bytes && size(map.size_bytes), map.device].filter(Boolean).join(" · "));
    body.hidden = !open;
    if (!open) return;
    const groups = groupsOf(map);
    if (queueingText(map)) groups.unshift({ key: "queueing", title: queueingText(map), paths: [] });
    keyed(body, groups, ({ key }) => key, () => h("section", { class: "port" }, h("h3", { class: "muted" }), h("ul")), (group, { title, paths: lines }) => {
      text(group.firstElementChild, lines.length > 1 ? `${title} (${number(lines.length)})` : title);
      keyed(group.lastElementChild, lines, (path) => path.id, pathLine, paintPath);
    });
  }
}
