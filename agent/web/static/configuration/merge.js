// Three-way merges: what two sides made of one base, option by option and line by line. Pure.

import { diffLines } from "../history/diff.js";

/** Whether two sections, objects of options or null for none, say the same. */
export function same(a, b) {
  if (!a || !b) return !a && !b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

function kindOf(equal, base, mine, theirs) {
  if (equal(mine, base)) return equal(theirs, base) ? null : "theirs";
  if (equal(theirs, base)) return "mine";
  return equal(mine, theirs) ? "both" : "clash";
}

const plain = (a, b) => (a ?? "") === (b ?? "");

/**
 * Where two documents differ from their base. Each is a map of options by key. A row is one option of a section, or with `option` null the
 * section as a whole, if one side made or removed it; `kind` says whose change it is: `mine`, `theirs`, `both` (the same), or `clash`.
 */
export function threeWay(base, mine, theirs) {
  const rows = [];
  for (const key of new Set([...base.keys(), ...mine.keys(), ...theirs.keys()])) {
    const [b, m, t] = [base, mine, theirs].map((document) => document.get(key) ?? null);
    const made = b === null && m !== null && t !== null;
    if (made || (b && m && t)) {
      for (const option of [...new Set([b ?? {}, m, t].flatMap(Object.keys))].sort()) {
        const values = [b?.[option], m[option], t[option]];
        const kind = kindOf(plain, ...values);
        if (kind) rows.push({ id: `${key} ${option}`, key, option, base: values[0] ?? "", mine: values[1] ?? "", theirs: values[2] ?? "", kind });
      }
    } else {
      const kind = kindOf(same, b, m, t);
      if (kind) rows.push({ id: key, key, option: null, base: b, mine: m, theirs: t, kind });
    }
  }
  return rows.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** What is wanted of each key beyond `theirs`: my changes, and of those that clash the ones whose `id` is in `kept`. */
export function wantedOver(rows, theirs, kept) {
  const wanted = new Map();
  for (const { id, key, option, mine, kind } of rows) {
    if (kind !== "mine" && !(kind === "clash" && kept.has(id))) continue;
    if (option === null) {
      wanted.set(key, mine);
      continue;
    }
    const options = { ...(wanted.get(key) ?? theirs.get(key)) };
    if (mine === "") delete options[option];
    else options[option] = mine;
    wanted.set(key, options);
  }
  return wanted;
}

// -- lines -------------------------------------------------------------------------------------------------------------

/** What a text did to its base: `{start, end, lines}` says that `lines` stand for the lines from `start` to before `end`. */
function hunks(base, text) {
  const found = [];
  let at = 0;
  let open = null;
  for (const [sign, line] of diffLines(base, text)) {
    if (sign === " ") {
      open = null;
      at += 1;
      continue;
    }
    if (open === null) found.push((open = { start: at, end: at, lines: [] }));
    if (sign === "+") open.lines.push(line);
    else open.end = at += 1;
  }
  return found;
}

const sameLines = (a, b) => a.length === b.length && a.every((line, index) => line === b[index]);

/** The lines from `start` to before `end` with these hunks, which lie within them, done. */
function patched(lines, start, end, done) {
  const found = [];
  let at = start;
  for (const hunk of done) {
    found.push(...lines.slice(at, hunk.start), ...hunk.lines);
    at = hunk.end;
  }
  return [...found, ...lines.slice(at, end)];
}

/**
 * Both changes of a text in one: `{text, clashes}`. Where they touch the same lines in different ways, both stand there between markers, which
 * no configuration can hold: nobody saves them unseen.
 */
export function mergeText(base, mine, theirs, names) {
  const lines = base.split("\n");
  const [left, right] = [hunks(base, mine), hunks(base, theirs)];
  const found = [];
  let at = 0;
  let clashes = 0;
  while (left.length || right.length) {
    const start = Math.min(left[0]?.start ?? Infinity, right[0]?.start ?? Infinity);
    let end = start;
    const ours = [];
    const others = [];
    // Hunks that touch are one place: what is put in beside a change may depend on it.
    for (let grown = true; grown;) {
      grown = false;
      for (const [from, into] of [[left, ours], [right, others]]) {
        while (from.length && from[0].start <= end) {
          end = Math.max(end, from[0].end);
          into.push(from.shift());
          grown = true;
        }
      }
    }
    found.push(...lines.slice(at, start));
    const [my, their] = [patched(lines, start, end, ours), patched(lines, start, end, others)];
    if (!others.length || sameLines(my, their)) found.push(...my);
    else if (!ours.length) found.push(...their);
    else {
      clashes += 1;
      found.push(`<<<<<<< ${names.mine}`, ...my, "=======", ...their, `>>>>>>> ${names.theirs}`);
    }
    at = end;
  }
  return { text: [...found, ...lines.slice(at)].join("\n"), clashes };
}
