// Trades the secret in the address for a session. The part after "#" never leaves the browser by itself: no server logs it, and what looks
// at links in advance does not use them up.

import { logIn, Problem } from "./api.js";
import { text } from "./dom.js";
import { localize, t } from "./strings.js";

const what = document.getElementById("what");
const how = document.getElementById("how");
const command = document.getElementById("command");

function ask(message) {
  text(what, message);
  text(how, t("login.how"));
  command.hidden = false;
}

async function enter() {
  const link = location.hash.slice(1);
  if (!link) {
    ask(t("login.needed"));
    return;
  }
  history.replaceState(null, "", location.pathname);
  text(what, t("login.working"));
  try {
    await logIn(link);
    location.replace("/");
  } catch (fault) {
    ask(fault instanceof Problem && fault.code.startsWith("link-") ? t(`login.${fault.code}`) : fault.message);
  }
}

localize(document);
// A new link that is put into the address of this page loads nothing anew.
addEventListener("hashchange", () => location.hash && enter());
await enter();
