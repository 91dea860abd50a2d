// The columns of the nodes: how each is headed, and what its cells come to. Pure.

import { compare, number, t, tOr } from "../strings.js";
import { stateWord } from "./cells.js";
import { cellRank, CELL_STATES } from "./query.js";

/** A name of so many characters fits above its column. */
const FITS = 12;
const SEPARATORS = "-_.:";

/** How many characters, up to a separator, all names begin with. */
function common(names) {
  const [first, ...others] = names;
  let same = 0;
  while (same < first.length && others.every((name) => name[same] === first[same])) same += 1;
  while (same > 0 && !SEPARATORS.includes(first[same - 1])) same -= 1;
  return same;
}

const backwards = (name) => [...name].reverse().join("");

/** Names as heads of columns: where they are long, what all of them begin and end with is left out. The same order. */
export function shortNames(names) {
  if (names.length < 2 || names.every((name) => name.length <= FITS)) return names;
  const begin = common(names);
  const end = common(names.map((name) => backwards(name.slice(begin))));
  if (names.some((name) => name.length === begin + end)) return names;
  return names.map((name) => `${begin ? "…" : ""}${name.slice(begin, name.length - end)}${end ? "…" : ""}`);
}

/**
 * A head for each node: the worst of its cells and how many are so; what is healthy needs no attention. `reporters` says of each node how far
 * its word goes, `resting` holds those in maintenance. Gives `{name, short, state, label, count, away, maintenance}` by name.
 */
export function columnsOf(rows, reporters, resting) {
  const names = [...reporters.keys()].sort(compare);
  const tallies = new Map(names.map((name) => [name, { worst: CELL_STATES.length, count: 0, bad: 0, n: 0 }]));
  for (const row of rows) {
    for (const [node, { state }] of row.cells) {
      const tally = tallies.get(node);
      if (tally === undefined || state === "absent") continue;
      const rank = cellRank(state);
      tally.n += 1;
      if (state !== "healthy") tally.bad += 1;
      if (rank < tally.worst) [tally.worst, tally.count] = [rank, 1];
      else if (rank === tally.worst) tally.count += 1;
    }
  }
  const shorts = shortNames(names);
  return names.map((name, index) => {
    const { worst, count, bad, n } = tallies.get(name);
    const reporter = reporters.get(name).state;
    const state = CELL_STATES[worst] ?? "absent";
    const maintenance = resting.has(name);
    const said = [t("multipath.node-label", { node: name, state: reporter === "fresh" ? stateWord(state) : tOr(`node.${reporter}`, reporter), bad, n })];
    if (maintenance) said.push(t("multipath.node-maintenance"));
    return { name, short: shorts[index], state, label: said.join("; "), count: n ? number(count) : "–", away: reporter !== "fresh", maintenance };
  });
}
