// Elements made of data. Whatever comes from a model or a person becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Names with "on" are listeners, "class" and names with a dash are attributes. */
export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** An element of a drawing; all of its props are attributes. */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function filled(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Something to press. */
export function button(text, onclick, props = {}) {
  return el("button", { type: "button", onclick, ...props }, text);
}

/** Say something to those who listen to the page rather than see it. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A name that no other element has. */
export function fresh(name) {
  fresh.number = (fresh.number ?? 0) + 1;
  return `${name}-${fresh.number}`;
}
