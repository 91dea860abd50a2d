// The shell: which panel is shown by the address, the one stream of events, and whether what is shown is old.

import { get, logOut, Problem } from "./api.js";
import { attr, button, dialog, h, text, visible } from "./dom.js";
import { Document, Live } from "./live.js";
import { localize, t, time } from "./strings.js";

/** The panels in the order of the navigation: `#/name?parameters`. Each module has `mount(root, app)`, called when it is first shown. */
const PANELS = {
  multipath: () => import("./panels/multipath.js"),
  configuration: () => import("./panels/configuration.js"),
  conflicts: () => import("./panels/conflicts.js"),
  history: () => import("./panels/history.js"),
  nodes: () => import("./panels/nodes.js"),
  events: () => import("./panels/events.js"),
};
const FIRST = Object.keys(PANELS)[0];
/** What the first panel does not need, and is not to wait for. */
const MORE_STYLES = ["configuration.css", "lists.css", "history.css", "nodes.css"];
const NOTICE_MS = 8000;

const live = new Live();

/** What panels get. */
const app = {
  live,
  /** `{user, may_write, node, cluster, version}` */
  me: null,
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
  /** Tell something for a few seconds; a fault stays until it is closed. */
  notice,
  /** Tell a fault. */
  failed(fault) {
    if (!(fault instanceof Problem)) throw fault;
    if (fault.status !== 401 && fault.code !== "unreachable") notice([fault.message, fault.hint].filter(Boolean).join(" · "), { fault: true });
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

let styled = null;

/** The styles of the other panels, once they are there. */
function moreStyles() {
  styled ??= Promise.all(MORE_STYLES.map((name) => new Promise((resolve) => {
    document.head.append(h("link", { rel: "stylesheet", href: `/static/${name}`, on: { load: resolve, error: resolve } }));
  })));
  return styled;
}

async function route() {
  const { panel } = parsed();
  for (const [name, link] of links) attr(link, "aria-current", name === panel ? "page" : null);
  document.title = `${t(`nav.${panel}`)} · ${app.me?.cluster ? visible(app.me.cluster) : "Pathmesh"}`;
  const moved = shown !== panel;
  if (moved && shown !== null) {
    const before = mounted.get(shown);
    if (before) {
      before.section.hidden = true;
      before.view?.hide?.();
    }
  }
  shown = panel;
  // On a narrow screen the navigation scrolls.
  if (moved && mounted.size) links.get(panel).scrollIntoView({ block: "nearest", inline: "nearest" });
  if (!mounted.has(panel)) {
    // Panels stay when another one is shown: nothing that was typed, opened or scrolled to is lost.
    const section = h("section", { class: "panel", "data-panel": panel });
    main.append(section);
    mounted.set(panel, { section, view: null });
    const [module] = await Promise.all([PANELS[panel](), panel === FIRST ? null : moreStyles()]);
    mounted.get(panel).view = module.mount(section, app);
  }
  const { section, view } = mounted.get(panel);
  section.hidden = shown !== panel;
  if (shown !== panel || view === null) return;
  view.show?.(app.parameters());
  if (moved) view.shown?.();
}

// -- what is told about the page itself --------------------------------------------------------------------------------

function notice(message, { fault = false } = {}) {
  const close = button("×", () => element.remove(), { class: "quiet", "aria-label": t("shell.close") });
  const element = h("p", { class: fault ? "notice fault" : "notice" }, h("bdi", {}, message), close);
  document.getElementById("notices").append(element);
  if (!fault) setTimeout(() => element.remove(), NOTICE_MS);
}

function showConnection() {
  const connection = document.getElementById("connection");
  attr(connection, "data-state", live.state);
  text(connection, t(`connection.${live.state}`));
  const stale = document.getElementById("stale");
  const old = live.since !== null && live.state !== "live";
  document.body.classList.toggle("is-stale", old);
  if (old) {
    const why = live.fault instanceof Problem && !["unreachable", "no-session"].includes(live.fault.code) ? ` (${live.fault.message})` : "";
    text(stale, t(live.state === "logged-out" ? "stale.logged-out" : "stale.lost", { since: time(live.since) }) + why);
  }
  stale.hidden = !old;
}

async function whoami() {
  app.me = await get("/v1/whoami");
  live.emit("me", app.me);
  text(document.getElementById("where"), `${app.me.cluster} · ${app.me.node}`);
  text(document.getElementById("who"), app.me.user);
  document.title = `${t(`nav.${parsed().panel}`)} · ${visible(app.me.cluster)}`;
}

localize(document);
buildNavigation();
showConnection();
live.on("state", showConnection);
live.on("resumed", () => whoami().catch(app.failed));
addEventListener("pathmesh:no-session", () => live.retry());
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
live.on("state", (state) => state === "stale" && app.me === null && [app.nodes.ask(), app.conflicts.ask(), whoami().catch(app.failed)]);
live.start();
await route();
