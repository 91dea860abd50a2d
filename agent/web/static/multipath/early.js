// The first answer of the matrix is asked for while the rest of the page is still being loaded: this module needs no other one.

const PATIENCE_MS = 10_000;
/** What is taken later than this is asked for anew: much may have happened meanwhile. */
const FRESH_MS = 5000;

let asked = /^(#\/?(multipath.*)?)?$/.test(location.hash) ? ask() : null;

async function ask() {
  try {
    const response = await fetch("/v1/matrix?brief=true", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.ok ? { answer: await response.json(), at: Date.now() } : null;
  } catch {
    return null; // asked again in the ordinary way, which tells what is wrong
  }
}

/** The answer, once; null if there is none, or it was taken. */
export function early() {
  const found = asked && fresh(asked);
  asked = null;
  return found;
}

async function fresh(asked) {
  const found = await asked;
  return found !== null && Math.abs(Date.now() - found.at) <= FRESH_MS ? found.answer : null;
}
