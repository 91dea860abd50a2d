// Trades the secret in the address for a session. The part after "#" never leaves the browser by itself: no server logs it, and what looks
// at links in advance does not use them up. If it begins with "/" it is no secret but a place of the page, which somebody without a session
// wanted to go to, and goes to once there is one.

import { get, logIn, Problem } from "./api.js";
import { text } from "./dom.js";
import { localize, t } from "./strings.js";

const what = document.getElementById("what");
const how = document.getElementById("how");
const command = document.getElementById("command");
let place = "";

function ask(message) {
  text(what, message);
  text(how, t("login.how"));
  command.hidden = false;
}

/** To the page: it is at "/", whatever the address says besides. */
const go = () => location.replace(`/${place}`);

/** By the link in the address; without one, by the session that there is. */
async function enter() {
  const asked = location.hash.slice(1);
  if (asked.startsWith("/")) place = `#${asked}`;
  const link = asked.startsWith("/") ? "" : asked;
  if (link) {
    history.replaceState(null, "", location.pathname + place);
    text(what, t("login.working"));
  }
  try {
    await (link ? logIn(link) : get("/v1/whoami"));
    go();
  } catch (fault) {
    if (fault instanceof Problem && fault.code.startsWith("link-")) ask(t(`login.${fault.code}`));
    else ask(fault.status === 401 ? t("login.needed") : fault.message);
  }
}

localize(document);
// A new link that is put into the address of this page loads nothing anew.
addEventListener("hashchange", () => location.hash && enter());
// Another tab may have logged this browser in meanwhile.
document.addEventListener("visibilitychange", () => document.hidden || get("/v1/whoami").then(go, () => {}));
await enter();
