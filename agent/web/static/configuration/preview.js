// What would be written: for the draft the difference of the files on every node, and what this node's host would get of what is saved.

import { get, Problem, write } from "../api.js";
import { button, fill, h, named } from "../dom.js";
import { diffView, unifiedLines } from "../history/diff.js";
import { serially } from "../live.js";
import { t } from "../strings.js";
import { paintFaults } from "./option_form.js";

/** A list with more is folded. */
const LONG = 8;
const RANK = { error: 0, warning: 1, info: 2 };

/** Ask what the draft would do: the answer of a dry run, or the Problem that it was refused with. */
export async function tryOut(parts, { preview = false } = {}) {
  const query = preview ? { preview: "true" } : {};
  const found = [];
  for (const part of parts) {
    try {
      found.push((await write(part.method, part.path, { ...part.content, digest: part.digest, dryRun: true, query })).body);
    } catch (fault) {
      if (!(fault instanceof Problem)) throw fault;
      found.push(fault);
    }
  }
  return found;
}

/** A difference of files, file by file, each with a heading of this level. */
function filesView(diff, level) {
  const files = diff.split(/^(?=--- )/m).filter(Boolean);
  return files.map((each) => {
    const [, from = "", to = ""] = /^--- (.*)\n\+\+\+ (.*)$/m.exec(each) ?? [];
    const name = to === "/dev/null" ? t("configuration.file-goes", { file: from }) : from === "/dev/null" ? t("configuration.file-comes", { file: to }) : to;
    return h("section", { class: "file" }, h(`h${level}`, { class: "file-name mono" }, name), diffView(unifiedLines(each)));
  });
}

/** A list under its title; a long one is folded. */
function lines(title, items) {
  if (!items.length) return null;
  const list = h("ul", { class: "plain-list" }, items.map((item) => h("li", {}, item)));
  if (items.length <= LONG) return h("section", {}, h("h3", { class: "file-name" }, title), list);
  return h("details", {}, h("summary", { class: "file-name" }, t("configuration.folded", { title, n: items.length })), list);
}

/** What was found, the worst first; many mere notes are folded. */
function problemsView(problems) {
  const listOf = (found) => {
    const list = h("ul", { class: "faults" });
    paintFaults(list, found);
    return found.length > 0 && list;
  };
  const sorted = [...problems].sort((a, b) => RANK[a.severity] - RANK[b.severity]);
  const notes = sorted.filter(({ severity }) => severity === "info");
  if (notes.length <= LONG) return listOf(sorted);
  const folded = h("details", {}, h("summary", {}, t("configuration.folded", { title: t("configuration.notes"), n: notes.length })), listOf(notes));
  return h("div", {}, listOf(sorted.filter(({ severity }) => severity !== "info")), folded);
}

/** Why a dry run was refused; what stands among its problems is not said again above them. */
function refusalView({ message, hint, problems }) {
  const said = problems.some((problem) => message.startsWith(problem.message));
  return [said ? null : h("p", { class: "fault" }, named(message)), said || !hint ? null : h("p", {}, named(hint)), problemsView(problems)];
}

function effectView({ preview }) {
  const { append = [], disable = [] } = preview?.allow_list ?? {};
  return [
    ...(preview?.nodes ?? []).map(({ nodes, tools_version: version, diff, skipped }) => h("section", { class: "node-files" },
      h("h3", {}, named(nodes.join(", ")), " ", h("span", { class: "muted" }, version ? t("configuration.tools", { version }) : t("configuration.tools-unknown"))),
      problemsView(skipped), diff ? filesView(diff, 4) : h("p", { class: "muted" }, t("configuration.files-stay")))),
    lines(t("configuration.allow-list-comes"), append.map((wwid) => h("code", {}, wwid))),
    lines(t("configuration.allow-list-goes"), disable.map((wwid) => h("code", {}, wwid))),
  ];
}

/** What dry runs said: all that is wrong or warned about before all that would be written. */
export function answersView(answers) {
  const refused = answers.filter((answer) => answer instanceof Problem);
  const taken = answers.filter((answer) => !(answer instanceof Problem));
  return [...refused.flatMap(refusalView), problemsView(taken.flatMap(({ warnings }) => warnings)), ...taken.flatMap(effectView)].filter(Boolean);
}

export class Preview {
  #parts;
  #active = false;

  /** `parts` gives the writes of the draft: `{method, path, content, digest}`; null if it must be compared with a newer version first. */
  constructor({ app, parts }) {
    this.#parts = parts;
    this.app = app;
    this.draft = h("div", { class: "answers" });
    this.host = h("div", { class: "answers" });
    this.load = serially(() => this.#load(), app.failed, () => this.#active);
    this.hostTitle = h("h2", {});
    this.element = h("div", { class: "part" },
      h("section", { class: "card previewed" }, h("h2", {}, t("configuration.preview-draft")), this.draft),
      h("section", { class: "card previewed" }, h("div", { class: "panel-head" }, this.hostTitle, button(t("configuration.preview-again"), () => this.load(), { class: "small quiet" })),
        h("p", { class: "muted" }, t("configuration.preview-host-what")), this.host));
  }

  /** Whether it is shown: only then it asks. */
  set active(active) {
    if (active && !this.#active) this.load();
    this.#active = active;
  }

  update() {
    if (this.#active) this.load();
  }

  async #load() {
    const parts = this.#parts();
    if (parts === null) fill(this.draft, h("p", { class: "muted" }, t("configuration.preview-moved")));
    else if (!parts.length) fill(this.draft, h("p", { class: "muted" }, t("configuration.preview-nothing")));
    else if (this.app.me?.may_write === false) fill(this.draft, h("p", { class: "muted" }, t("configuration.read-only")));
    else fill(this.draft, answersView(await tryOut(parts, { preview: true })));
    this.hostTitle.textContent = t("configuration.preview-host", { node: this.app.me?.node ?? "" });
    fill(this.host, ...this.#hostView(await get("/v1/render")));
  }

  #hostView({ diff, skipped, allow_list: list, maps, refused }) {
    const name = (wwid) => h("code", {}, wwid);
    const said = ({ message, hint }) => named([message, hint].filter(Boolean).join(" · "));
    const parts = [
      problemsView(refused.map((fault) => ({ ...fault, severity: "error" }))),
      problemsView(skipped),
      ...(diff ? filesView(diff, 3) : []),
      lines(t("configuration.allow-list-comes"), list.append.map(name)),
      lines(t("configuration.allow-list-goes"), list.disable.map(name)),
      lines(t("configuration.allow-list-waits"), list.deferred.map(said)),
      lines(t("configuration.maps-made"), maps.made.map(name)),
      lines(t("configuration.maps-released"), maps.released.map(name)),
      lines(t("configuration.maps-renamed"), Object.entries(maps.renamed).map(([, { from, to }]) => named(`${from} → ${to}`))),
      !maps.known && h("p", { class: "muted" }, t("configuration.maps-unknown")),
    ].filter(Boolean);
    return parts.length ? parts : [h("p", { class: "muted" }, t("configuration.host-in-sync"))];
  }
}
