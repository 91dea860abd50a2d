// Accepting the paths that a LUN has now as the expected ones: which stay expected and which are given up is shown first, by node, and again
// if they changed while it was looked at.

import { segment, write } from "../api.js";
import { dialog, fill, h, mark, named } from "../dom.js";
import { t } from "../strings.js";
import { isKnown, pathName } from "./paths.js";

const HOUR = 3600;
/** For how long it may hold, in seconds; the first is what is chosen if nobody chooses. */
const LENGTHS = [["open", null], ["1h", HOUR], ["1d", 24 * HOUR], ["7d", 7 * 24 * HOUR]];

/** Whether a node has lost something that can be given up. Where there are paths and none of them is usable, that would hide a failure. */
export function acceptable(cell) {
  const { usable = 0, visible = 0 } = cell.paths ?? {};
  const lost = (cell.missing_paths ?? []).length > 0 || cell.reasons.includes("below-expected");
  return isKnown(cell) && lost && (usable > 0 || visible === 0);
}

/** Ask, and take what is there as expected on these nodes; whether that was done. Raises a Problem if nothing can be accepted. */
export async function acceptPaths({ id, name }, nodes) {
  const path = `/v1/luns/${segment(id)}/accept`;
  const list = h("div", { class: "accept-list" });
  let shown;

  async function look() {
    const { accepted } = (await write("POST", path, { body: { nodes }, dryRun: true })).body;
    shown = Object.fromEntries(accepted.map(({ node, paths }) => [node, paths]));
    fill(list, accepted.map(ofNode));
  }

  await look();
  const reason = h("input", { type: "text", maxlength: 4096, name: "reason", autocomplete: "off" });
  const length = h("select", { name: "length" }, LENGTHS.map(([each]) => h("option", { value: each }, t(`multipath.accept-for.${each}`))));
  const done = await dialog({
    title: t("multipath.accept-title", { name }),
    content: [
      h("p", {}, t("multipath.accept-what")),
      list,
      h("label", { class: "field" }, t("multipath.accept-length"), length),
      h("label", { class: "field" }, t("multipath.accept-reason"), reason),
    ],
    action: t("multipath.accept"),
    cancel: t("shell.cancel"),
    collect: () => ({ nodes, shown, reason: reason.value, expires_seconds: LENGTHS.find(([each]) => each === length.value)[1] }),
    confirm: async (body) => {
      try {
        await write("POST", path, { body });
      } catch (fault) {
        if (fault.code !== "accept-changed") throw fault;
        await look();
        throw new Error(t("multipath.accept-stale"));
      }
    },
  });
  return done !== null;
}

function ofNode({ node, paths, given_up: lost }) {
  const part = (title, ids, state) => ids.length > 0 && [
    h("p", { class: "muted" }, title),
    h("ul", {}, ids.map((id) => h("li", { class: "path", "data-state": state }, mark(state), named(pathName(id), { class: "target mono" })))),
  ];
  return h("section", { "data-node": node },
    h("h3", {}, named(node)),
    part(t("multipath.accept-kept", { n: paths.length }), paths, "active") || h("p", {}, t("multipath.accept-none")),
    part(t("multipath.accept-given-up", { n: lost.length }), lost, "lost"));
}
