// Elements from values. Whatever comes from the agent, and so from any node, becomes text or an attribute, never markup: nothing here parses.

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text with its control characters, and those that turn the writing direction, made visible. */
export function visible(value) {
  return String(value).replace(HIDDEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An element. Attributes with null, undefined or false are left out; `on` holds listeners; children that are no nodes become text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      attr(element, name, value);
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
}

/** Set an attribute if it is another one; null, undefined and false take it away. Addresses lead within the page only. */
export function attr(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const wanted = value === true ? "" : String(value);
  if (name === "href" && !/^[#/]/.test(wanted)) throw new TypeError(`href ${wanted}`);
  if (/^(on|style$|src)/.test(name)) throw new TypeError(`attribute ${name}`);
  if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
}

/** Set the text of an element that holds nothing else, if it is another one; whether it was. */
export function text(element, value) {
  const wanted = visible(value ?? "");
  if (element.textContent === wanted) return false;
  const only = element.firstChild;
  if (only !== null && only === element.lastChild && only.nodeType === Node.TEXT_NODE) only.data = wanted;
  else element.textContent = wanted;
  return true;
}

/** Text that a node or a person chose, kept from turning the direction of what stands around it. */
export function named(value, attributes = {}) {
  return h("bdi", attributes, value);
}

/** Replace all children. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

const known = new WeakMap();

/**
 * Keep one child for each item, in their order: children stay the same nodes for as long as their key is there, so focus, selection and what
 * was typed stay. `make(item)` gives a new element, `update(element, item)` is called for each.
 */
export function keyed(parent, items, keyOf, make, update = () => {}) {
  const before = known.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const element = before.get(key) ?? make(item);
    update(element, item);
    after.set(key, element);
  }
  for (const [key, element] of before) if (after.get(key) !== element && element.parentNode === parent) element.remove();
  place(parent, [...after.values()]);
  known.set(parent, after);
}

/** Put children in this order, moving as few as possible; one that holds the focus keeps it. */
export function place(parent, children) {
  let next = parent.firstChild;
  for (const child of children) {
    if (child === next) {
      next = next.nextSibling;
    } else if (child.isConnected && parent.isConnected && parent.moveBefore) {
      parent.moveBefore(child, next);
    } else {
      parent.insertBefore(child, next);
    }
  }
}

/** A button. */
export function button(label, click, attributes = {}) {
  return h("button", { type: "button", ...attributes, on: { click } }, label);
}

/** The mark of a state: a shape and a colour; the word stands beside it or in the label. */
export function mark(state) {
  return h("span", { class: "mark", "data-state": state, "aria-hidden": "true" });
}

let ids = 0;

/** An id that no other element has. */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/**
 * A dialog that asks something: resolves to what `collect()` gives when it is confirmed, to null when it is not. `confirm(value)` may throw a
 * Problem, which is shown in the dialog; then it stays open with all that was typed. While it runs the dialog cannot be left, for what was
 * begun is not undone by that.
 */
export function dialog({ title, content, action, cancel, collect = () => true, confirm = async () => {}, danger = false }) {
  return new Promise((resolve) => {
    const heading = freshId("dialog");
    const fault = h("p", { class: "fault", role: "alert", hidden: true });
    const yes = h("button", { type: "submit", class: danger ? "danger" : "primary" }, action);
    const form = h("form", { method: "dialog" }, h("h2", { id: heading }, title), content, fault,
      h("div", { class: "actions" }, button(cancel, () => element.close(), { class: "quiet" }), yes));
    const element = h("dialog", { class: "dialog", "aria-labelledby": heading, tabindex: "-1" }, form);
    let result = null;
    let running = false;
    const runs = (now) => {
      running = now;
      attr(element, "aria-busy", now ? "true" : null);
      // A browser that is asked often enough closes a dialog after all, but not one that says so.
      attr(element, "closedby", now ? "none" : null);
      if (now) element.focus(); // a button that is disabled loses it
      for (const each of form.querySelectorAll(".actions button")) each.disabled = now;
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (running) return;
      runs(true);
      try {
        const value = collect();
        await confirm(value);
        result = value;
        running = false;
        element.close();
      } catch (problem) {
        runs(false);
        yes.focus();
        text(fault, [problem.message, problem.hint].filter(Boolean).join(" · "));
        fault.hidden = false;
      }
    });
    element.addEventListener("cancel", (event) => running && event.preventDefault());
    element.addEventListener("close", () => {
      if (running) {
        element.showModal();
        return;
      }
      element.remove();
      resolve(result);
    });
    document.body.append(element);
    element.showModal();
  });
}
