// The shell: which panel is shown by the address, the one stream of events, and whether what is shown is old.

import { logOut, Problem, UNREACHABLE } from "./api.js";
import { attr, button, dialog, fill, h, text, visible } from "./dom.js";
import { Document, Live } from "./live.js";
import { loaders } from "./loaders.js";
import { notice, said, takeBack } from "./notices.js";
import { FIRST, panelModule, PANELS, preload } from "./panels.js";
import { localize, t, time } from "./strings.js";

/** The panel that shows what the agent has at this place below `/v1/`. */
const PLACES = {
  matrix: "multipath", luns: "multipath", config: "configuration", overrides: "configuration", options: "configuration", storages: "configuration",
  render: "configuration", conflicts: "conflicts", history: "history", rollout: "history", nodes: "nodes", members: "nodes", cluster: "nodes", events: "events",
};
/** What is soon over needs no banner. */
const CONNECTING_MS = 1000;

const live = new Live();

/** What panels get. */
const app = {
  live,
  /** `{user, may_write, node, cluster, version}` */
  me: null,
  /** What `me` is read from. */
  self: new Document(live, "/v1/whoami", []),
  /** `/v1/nodes`: renewed when a node, its apply or its membership changes. */
  nodes: new Document(live, "/v1/nodes", ["node", "apply", "cells", "member-joined", "member-left", "member-retired", "edit", "late-edit"]),
  /** `/v1/conflicts`: renewed when one opens, ends, or has other values. */
  conflicts: new Document(live, "/v1/conflicts", ["conflict-opened", "conflict-resolved", "edit", "late-edit", "snapshot-taken"]),
  /** What a panel's link in the navigation bears beside its name, and what that means; "" for nothing. */
  badge,
  /** The parameters of the panel that is shown. */
  parameters: () => parsed().parameters,
  /** Go to a panel. */
  go(panel, parameters = {}) {
    location.hash = address(panel, parameters);
  },
  /** Change the parameters of the panel that is shown, without a new entry in the browser's history. */
  setParameters(parameters) {
    history.replaceState(null, "", address(parsed().panel, parameters));
  },
  address,
  /** Tell something for a few seconds. */
  notice,
  /** Tell a fault. One of the page itself is for its makers; one of the session is told as long as there is none. */
  failed(fault) {
    if (!(fault instanceof Problem)) reportError(fault);
    else if (fault.status !== 401) notice(said(fault), { fault });
  },
};

function address(panel, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return `#/${panel}${query.size ? `?${query}` : ""}`;
}

function parsed() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { panel: Object.hasOwn(PANELS, path) ? path : FIRST, parameters: Object.fromEntries(new URLSearchParams(query)) };
}

// -- panels ------------------------------------------------------------------------------------------------------------

const main = document.getElementById("main");
const links = new Map();
const mounted = new Map();
let shown = null;

function buildNavigation() {
  const list = h("ul");
  for (const name of Object.keys(PANELS)) {
    const link = h("a", { href: `#/${name}` }, t(`nav.${name}`));
    links.set(name, link);
    list.append(h("li", {}, link));
  }
  document.getElementById("nav").append(list);
}

function badge(panel, shown, meaning = "") {
  const link = links.get(panel);
  let element = link.querySelector(".nav-badge");
  if (!shown) {
    element?.remove();
    return;
  }
  if (!element) link.append((element = h("span", { class: "nav-badge" }, h("span", { "aria-hidden": "true" }), h("span", { class: "visually-hidden" }))));
  text(element.firstElementChild, shown);
  text(element.lastElementChild, `, ${meaning}`);
}

/** The panels that hold what somebody typed and did not save; such a panel's view says so by `unsaved()`. */
const unsaved = () => [...mounted].filter(([, { view }]) => view?.unsaved?.()).map(([name]) => name);

/** Make a panel. If that fails its place says so, until it succeeds. */
async function mount(name, panel) {
  let module;
  try {
    module = await panelModule(name);
  } catch {
    tellFailed(name, panel);
    return;
  }
  panel.section.replaceChildren();
  try {
    panel.view = module.mount(panel.section, app);
  } catch (fault) {
    reportError(fault);
    tellFailed(name, panel);
  }
}

/** Of a module that could not be had a browser may remember that for as long as the page is open, also of those that it needs in turn. */
function tellFailed(name, panel) {
  panel.failures += 1;
  const reload = panel.failures > 1 && button(t("shell.reload"), () => location.reload());
  fill(panel.section, h("div", { class: "panel-head" }, h("h1", {}, t(`nav.${name}`))),
    h("p", { class: "fault", role: "alert" }, t("shell.panel-failed")), h("p", {}, button(t("shell.panel-again"), () => route()), reload));
}

async function route() {
  const { panel: name } = parsed();
  for (const [each, link] of links) attr(link, "aria-current", each === name ? "page" : null);
  document.title = `${t(`nav.${name}`)} · ${app.me?.cluster ? visible(app.me.cluster) : "Pathmesh"}`;
  const moved = shown !== name;
  if (moved && shown !== null) {
    const before = mounted.get(shown);
    before.section.hidden = true;
    before.view?.hide?.();
  }
  shown = name;
  // On a narrow screen the navigation scrolls.
  if (moved && mounted.size) links.get(name).scrollIntoView({ block: "nearest", inline: "nearest" });
  if (!mounted.has(name)) {
    // Panels stay when another one is shown: nothing that was typed, opened or scrolled to is lost.
    const section = h("section", { class: "panel", "data-panel": name });
    main.append(section);
    mounted.set(name, { section, view: null, mounting: null, failures: 0 });
  }
  const panel = mounted.get(name);
  panel.section.hidden = false;
  const made = panel.view === null;
  if (made) {
    panel.mounting ??= mount(name, panel).finally(() => (panel.mounting = null));
    await panel.mounting;
  }
  if (shown !== name) {
    panel.section.hidden = true;
    return;
  }
  panel.view?.show?.(app.parameters());
  if (moved || made) panel.view?.shown?.();
}

// -- what is told about the page itself --------------------------------------------------------------------------------

let connecting = 0;

function showConnection() {
  clearTimeout(connecting);
  const connection = document.getElementById("connection");
  attr(connection, "data-state", live.state);
  text(connection, t(live.behind.length ? "connection.behind" : `connection.${live.state}`));
  const old = live.since !== null || ["stale", "logged-out"].includes(live.state);
  const waits = live.state === "connecting" && document.getElementById("stale").hidden;
  if (old && waits) connecting = setTimeout(() => showStale(true), CONNECTING_MS);
  else showStale(old);
}

function showStale(old) {
  const stale = document.getElementById("stale");
  document.body.classList.toggle("is-stale", old);
  if (old) text(stale, staleText());
  stale.hidden = !old;
}

/** Since when what is shown may be old, and what the page waits for. */
function staleText() {
  const since = live.since ? time(live.since) : "";
  if (live.behind.length) {
    const read = live.behind.filter((each) => each.since !== null);
    const unread = live.behind.filter((each) => each.since === null);
    return [read.length && t("stale.behind", { since, ...whatAndWhy(read) }), unread.length && t("stale.unread", whatAndWhy(unread))].filter(Boolean).join(" ");
  }
  if (live.state === "logged-out") return t("stale.logged-out", { since });
  return t("stale.lost", { since }) + (live.fault && live.fault.code !== UNREACHABLE ? ` (${live.fault.message})` : "");
}

function whatAndWhy(behind) {
  return { what: [...new Set(behind.map(({ fault: { path } }) => placeOf(path)))].join(", "), why: said(behind[0].fault) };
}

function placeOf(path) {
  if (!path) return t(`nav.${parsed().panel}`); // a view asks for what it has first while it is looked at
  const first = path.split(/[/?]/)[2];
  return Object.hasOwn(PLACES, first) ? t(`nav.${PLACES[first]}`) : path;
}

let version = null;

function showSelf(me) {
  app.me = me;
  live.emit("me", me);
  text(document.getElementById("where"), `${me.cluster} · ${me.node}`);
  text(document.getElementById("who"), me.user);
  document.title = `${t(`nav.${parsed().panel}`)} · ${visible(me.cluster)}`;
  version ??= me.version;
  // What was typed is asked about before it is gone.
  if (me.version !== version) notice(t("shell.other-version"), { action: { label: t("shell.reload"), act: () => location.reload() } });
}

localize(document);
buildNavigation();
showConnection();
live.on("state", showConnection);
loaders.recovered = (fault) => takeBack((told) => said(told) === said(fault));
app.self.on("changed", showSelf);
addEventListener("hashchange", route);
// What was typed and not saved is asked about before it is gone.
let leaving = false;
addEventListener("beforeunload", (event) => !leaving && unsaved().length && event.preventDefault());
document.getElementById("logout").addEventListener("click", async () => {
  if (unsaved().length) {
    const sure = await dialog({ title: t("shell.unsaved"), content: h("p", {}, t("shell.unsaved-what", { panels: unsaved().map((name) => t(`nav.${name}`)).join(", ") })), action: t("shell.logout"), cancel: t("shell.cancel"), danger: true });
    if (!sure) return;
  }
  try {
    await logOut();
  } catch (fault) {
    app.failed(fault);
    return;
  }
  leaving = true;
  location.replace("/login");
});
// The way past the navigation must not change the address, which says what is shown.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
app.conflicts.on("changed", ({ conflicts: { length: n } }) => badge("conflicts", n || "", t("shell.conflicts", { n })));
// Everything is read once the stream is there, so that nothing happens unseen between the two; without a stream it is read all the same.
live.on("state", (state) => state === "stale" && app.me === null && [app.self, app.nodes, app.conflicts].forEach((each) => each.ask()));
live.start();
await route();
live.on("resumed", () => {
  if (mounted.get(shown)?.view === null) route();
  preload();
});
preload();
