// What must hold of every page for whoever cannot see it, or sees little of it: gives the list of what does not. It is called as a function
// in the page, so nothing of it is part of the page.
() => {
  const found = [];
  const say = (rule, element, more = "") => found.push(`${rule}: <${element.localName} ${[...element.attributes].slice(0, 4).map((a) => `${a.name}="${a.value.slice(0, 40)}"`).join(" ")}> ${more}`.trim());
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: false });
  const all = [...document.querySelectorAll("body, body *")].filter(shown);

  // -- the document
  if (!document.documentElement.lang) found.push("lang: the document has no language");
  if (!document.title) found.push("title: the document has no title");
  const ids = new Set();
  for (const element of document.querySelectorAll("[id]")) {
    if (ids.has(element.id)) say("id", element, "is there twice");
    ids.add(element.id);
  }
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      for (const id of element.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) say(name, element, `points at nothing: ${id}`);
    }
  }
  let level = 0;
  const headings = all.filter((element) => /^h[1-6]$/.test(element.localName));
  if (headings.filter((element) => element.localName === "h1").length !== 1) found.push("heading: not exactly one h1 is shown");
  for (const element of headings) {
    const now = Number(element.localName[1]);
    if (now > level + 1) say("heading", element, `leaves out a level after h${level}`);
    level = now;
  }
  for (const element of document.querySelectorAll("[role=button], [onclick]")) if (element.localName !== "button") say("button", element, "is no button");
  for (const element of document.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) say("tabindex", element, "changes the order");
  if (document.querySelectorAll("main").length !== 1) found.push("main: not exactly one");

  // -- names of controls
  const named = (element) => {
    const by = (element.getAttribute("aria-labelledby") ?? "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? "");
    const labels = element.labels ? [...element.labels].map((label) => label.textContent) : [];
    return [element.getAttribute("aria-label"), ...by, ...labels, element.textContent, element.getAttribute("title")].some((name) => name && name.trim());
  };
  for (const element of all) {
    if (/^(button|a|select|textarea|input|summary|dialog)$/.test(element.localName) || /^(grid|gridcell|columnheader|rowheader|region|dialog)$/.test(element.getAttribute("role") ?? "")) {
      const label = element.localName === "select" || element.localName === "input" || element.localName === "textarea";
      const name = label ? named({ getAttribute: (n) => element.getAttribute(n), labels: element.labels, textContent: "" }) : named(element);
      if (!name) say("name", element, "has no name");
    }
  }

  // -- grids: rows in a grid, cells in rows, one way in by keyboard
  for (const grid of document.querySelectorAll("[role=grid]")) {
    for (const row of grid.querySelectorAll("[role=row]")) {
      for (const cell of row.children) {
        if (!/^(gridcell|columnheader|rowheader|none|presentation)$/.test(cell.getAttribute("role") ?? "")) say("grid", cell, "is no cell in a row");
      }
    }
    for (const cell of grid.querySelectorAll("[role=gridcell], [role=columnheader], [role=rowheader]")) if (!cell.closest("[role=row]")) say("grid", cell, "is in no row");
  }
  for (const element of document.querySelectorAll("[aria-hidden=true]")) {
    if (element.matches("a, button, input, select, textarea, [tabindex]") || element.querySelector("a, button, input, select, textarea, [tabindex]")) say("hidden", element, "can be focused and is hidden");
  }

  // -- contrast of text: WCAG 2.2, 1.4.3
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return layers.reduceRight((under, top) => over(top, under), dark ? [18, 18, 18, 1] : [255, 255, 255, 1]);
  };
  const seen = new Set();
  for (const element of all) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    const field = /^(input|select|textarea)$/.test(element.localName);
    if ((!own && !field) || element.disabled || element.closest("[aria-disabled=true]")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const key = `${style.color} ${ground} ${style.fontSize} ${style.fontWeight}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    const got = ratio(over(rgba(style.color), ground), ground);
    if (got < (large ? 3 : 4.5)) say("contrast", element, `${got.toFixed(2)} “${element.textContent.trim().slice(0, 30)}”`);
  }

  // -- nothing beside the page
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push(`width: the page is ${document.documentElement.scrollWidth} wide and ${document.documentElement.clientWidth} are shown`);
  return found;
}
