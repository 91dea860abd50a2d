// Differences as lines: of two texts, of an edit's options, and as the agent tells them. Pure but for `diffView`.

import { h } from "../dom.js";
import { t } from "../strings.js";

const CONTEXT = 3;
const MOST_CELLS = 4_000_000;
const SIGNS = { "+": "ins", "-": "del" };

/** `[sign, text]` for each line: " " in both, "-" in the first alone, "+" in the second alone. A longest common subsequence, unless that is too much work. */
export function diffLines(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
  const same = (lines) => lines.map((line) => [" ", line]);
  return [...same(a.slice(0, head)), ...between(a.slice(head, a.length - tail), b.slice(head, b.length - tail)), ...same(a.slice(a.length - tail))];
}

function between(a, b) {
  const width = b.length + 1;
  if (a.length * b.length > MOST_CELLS) return [...a.map((line) => ["-", line]), ...b.map((line) => ["+", line])];
  // longest[i * width + j]: how many lines a from i on and b from j on have in common
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push([" ", a[i]]);
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      found.push(["-", a[i]]);
      i += 1;
    } else {
      found.push(["+", b[j]]);
      j += 1;
    }
  }
  return found;
}

/** Lines in both stay only around those that are not; what is left out is one line with the sign "…". */
export function withContext(lines, around = CONTEXT) {
  const near = new Array(lines.length).fill(false);
  lines.forEach(([sign], index) => {
    if (sign !== " ") near.fill(true, Math.max(0, index - around), index + around + 1);
  });
  // One line alone takes no more room than the word that it is left out.
  near.forEach((shown, index) => {
    if (!shown && near[index - 1] !== false && near[index + 1] !== false) near[index] = true;
  });
  const found = [];
  lines.forEach((line, index) => {
    if (near[index]) found.push(line);
    else if (found.at(-1)?.[0] !== "…") found.push(["…", ""]);
  });
  return found;
}

/** The lines of what an edit did to the options of one key, as the agent tells it. A value of several lines is compared line by line. */
export function optionLines(options) {
  return options.flatMap(({ option, before, after }) => {
    if (`${before ?? ""}${after ?? ""}`.includes("\n")) {
      const [was, is] = [before, after].map((value) => (value === null ? "" : String(value).replace(/\n$/, "")));
      if (before === null) return is.split("\n").map((line) => ["+", line]);
      if (after === null) return was.split("\n").map((line) => ["-", line]);
      return withContext(diffLines(was, is));
    }
    const said = (sign, value) => (value === null ? [] : [[sign, `${option} ${value}`]]);
    return [...said("-", before), ...said("+", after)];
  });
}

/** The lines of a unified diff, without its head. */
export function unifiedLines(diff) {
  return diff
    .split("\n")
    .filter((line, index, all) => !(line.startsWith("--- ") || line.startsWith("+++ ") || (line === "" && index === all.length - 1)))
    .map((line) => (line.startsWith("@@") ? ["…", ""] : [line[0] ?? " ", line.slice(1)]))
    .filter(([sign], index) => sign !== "…" || index > 0);
}

/** Lines as elements: what goes is `del`, what comes is `ins`, and each line bears its sign. */
export function diffView(lines) {
  return h("div", { class: "diff mono", role: "group", "aria-label": t("history.diff") },
    lines.map(([sign, line]) => h(SIGNS[sign] ?? "span", { class: "line" }, `${sign === "-" ? "−" : sign} ${line.replaceAll("\t", "    ")}`)));
}
