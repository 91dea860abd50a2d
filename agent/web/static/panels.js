// The panels' modules and styles: had when they are needed first, or before that once the page has time.

import { h } from "./dom.js";
import { loaders } from "./loaders.js";

/** The panels in the order of the navigation: `#/name?parameters`. Each module has `mount(root, app)`, called when it is first shown. */
export const PANELS = {
  multipath: () => import("./panels/multipath.js"),
  configuration: () => import("./panels/configuration.js"),
  conflicts: () => import("./panels/conflicts.js"),
  history: () => import("./panels/history.js"),
  nodes: () => import("./panels/nodes.js"),
  events: () => import("./panels/events.js"),
};
export const FIRST = Object.keys(PANELS)[0];
/** What the first panel does not need, and is not to wait for. */
const MORE_STYLES = ["configuration.css", "lists.css", "history.css", "nodes.css"];
const LOOK_MS = 100;
const MOST_LOOKS = 50;

const had = new Map();
let tries = 0;

/** What `ask` gives, once; if it gives nothing it is asked again the next time. */
function once(name, ask) {
  if (!had.has(name)) {
    const asked = ask();
    asked.catch(() => {
      tries += 1;
      had.delete(name);
    });
    had.set(name, asked);
  }
  return had.get(name);
}

function style(name) {
  return once(name, () => new Promise((resolve, reject) => {
    const gone = () => {
      link.remove();
      reject(new TypeError(`no ${name}`));
    };
    const link = h("link", { rel: "stylesheet", href: `/static/${name}`, on: { load: resolve, error: gone } });
    document.head.append(link);
  }));
}

/** A panel's module, with the styles that it needs there. */
export async function panelModule(name) {
  // A browser may remember that it could not have a module, but not under another name.
  const module = once(name, () => (tries ? import(`./panels/${name}.js?${tries}`) : PANELS[name]()));
  const [found] = await Promise.all([module, ...(name === FIRST ? [] : MORE_STYLES.map(style))]);
  return found;
}

/** Have all of them: later the agent may be away, or be of another version, whose modules do not fit to these. */
export async function preload() {
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!loaders.busy) break; // what somebody looks at comes first
  }
  for (const name of Object.keys(PANELS)) await panelModule(name).catch(() => {}); // whoever needs it then says so
}
