// The merge of a conflict while somebody makes it: for each option one of the values, or another that is typed. Pure.

/** The options that any value has, and whether the values agree on each. Values are objects, or null for a section that is gone. */
export function optionsOf(values) {
  const names = [...new Set(values.flatMap((value) => Object.keys(value ?? {})))].sort();
  return names.map((name) => {
    const said = values.map((value) => value?.[name] ?? "");
    return { name, said, agreed: said.every((each) => each === said[0]) };
  });
}

/**
 * What to begin a merge with: each option as all have it; where one side alone changed it from the ancestor, that side's; else as in the value
 * that is in effect. `values` holds the one in effect at `winner`; `ancestor` is null if there was nothing, undefined if nobody knows.
 */
export function begin(values, winner, ancestor) {
  const merged = {};
  const there = values.filter((value) => value !== null);
  for (const { name } of optionsOf(there)) {
    const said = there.map((value) => value[name] ?? "");
    const before = ancestor?.[name] ?? "";
    const moved = ancestor === undefined ? [...new Set(said)] : [...new Set(said.filter((each) => each !== before))];
    const chosen = moved.length === 1 ? moved[0] : moved.length === 0 ? before : (values[winner] ?? there[0])[name] ?? "";
    if (chosen !== "") merged[name] = chosen;
  }
  return merged;
}
