// The first answer of the matrix is asked for while the rest of the page is still being loaded: this module needs no other one.

const PATIENCE_MS = 10_000;

let asked = /^(#\/?(multipath.*)?)?$/.test(location.hash) ? ask() : null;

async function ask() {
  try {
    const response = await fetch("/v1/matrix?brief=true", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // asked again in the ordinary way, which tells what is wrong
  }
}

/** The answer, once; null if there is none, or it was taken. */
export async function early() {
  const answer = asked;
  asked = null;
  return answer;
}
