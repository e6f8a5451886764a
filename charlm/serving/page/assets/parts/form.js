// Inputs by their names: what they hold is what the address says of a view.

import { el, fresh } from "../dom.js";

/** A field: where it stands, how its value is read and put in, and what it is unless changed. */
function field(name, label, input, usual, { get, set, after = [], hint } = {}) {
  input.id = fresh(name);
  const parts = [el("label", { for: input.id }, label), input, ...after];
  if (hint) {
    const told = el("small", { id: fresh("hint") }, hint);
    input.setAttribute("aria-describedby", told.id);
    parts.push(told);
  }
  const found = {
    name,
    input,
    usual,
    node: el("div", { class: `field ${input.type ?? ""}` }, parts),
  };
  found.get = get ?? (() => input.value);
  found.set = set ?? ((value) => (input.value = value));
  found.set(usual);
  return found;
}

/** A text of several lines. */
export const area = (name, label, { rows = 4, usual = "", hint, placeholder } = {}) =>
  field(name, label, el("textarea", { rows, placeholder, spellcheck: false }), usual, { hint });

/** A text of one line. */
export const line = (name, label, { usual = "", hint, placeholder } = {}) =>
  field(name, label, el("input", { type: "text", placeholder, autocomplete: "off" }), usual, {
    hint,
  });

/** A whole number, which may be left out if there is none that is usual. */
export function number(name, label, { min, max, usual = null, hint } = {}) {
  const input = el("input", { type: "number", min, max, step: 1, inputmode: "numeric" });
  const get = () => {
    const value = Math.round(Number(input.value));
    if (input.value === "" || !Number.isFinite(value)) return usual;
    return Math.min(max ?? value, Math.max(min ?? value, value));
  };
  return field(name, label, input, usual, {
    get,
    set: (value) => (input.value = value ?? ""),
    hint,
  });
}

/** One of some values by a slider. */
export function slider(name, label, values, { usual, show = String }) {
  const input = el("input", { type: "range", min: 0, max: values.length - 1, step: 1 });
  const output = el("output");
  const get = () => values[Number(input.value)];
  const tell = () => {
    output.textContent = show(get());
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const set = (value) => {
    input.value = nearest(values, Number(value));
    tell();
  };
  input.addEventListener("input", tell);
  return field(name, label, input, usual, { get, set, after: [output] });
}

/** The place of the value that is nearest. */
function nearest(values, wanted) {
  const away = values.map((value) => Math.abs(value - wanted));
  return away.indexOf(Math.min(...away));
}

/** Something that is done or not. */
export const check = (name, label, { usual = false, hint } = {}) => {
  const input = el("input", { type: "checkbox" });
  const set = (value) => (input.checked = value === true || value === "true");
  return field(name, label, input, usual, { get: () => input.checked, set, hint });
};

/** One of some options: strings, or pairs of a value and what it is called. */
export function pick(name, label, options, { usual, hint } = {}) {
  const pairs = options.map((one) => (Array.isArray(one) ? one : [one, one]));
  const all = pairs.map(([value, told]) => el("option", { value }, told));
  const input = el("select", {}, all);
  const set = (value) => {
    if (pairs.some(([one]) => one === value)) input.value = value;
  };
  return field(name, label, input, usual ?? pairs[0][0], { set, hint });
}

/** The label of a text, of a model with labels; nothing of another. */
export function labelField(model, { isNeeded = false } = {}) {
  if (!model.labels || model.kind !== "language-model") return [];
  const any = isNeeded ? [] : [["", "any (all of them mixed)"]];
  return [pick("label", "Label", [...any, ...model.labels])];
}

/** Some fields together; ``changed`` is called with the name of the one that a person changed. */
export class Form {
  constructor(fields, changed) {
    this.fields = Object.fromEntries(fields.map((one) => [one.name, one]));
    for (const { name, input } of fields) {
      const event = input.tagName === "SELECT" ? "change" : "input";
      input.addEventListener(event, () => changed(name));
    }
  }

  /** Where a field stands. */
  node(name) {
    return this.fields[name].node;
  }

  /** What a field holds; undefined where there is no such field. */
  get(name) {
    return this.fields[name]?.get();
  }

  set(name, value) {
    this.fields[name].set(value);
  }

  /** Put in what an address says, as far as there are such fields. */
  fill(values) {
    for (const [name, value] of Object.entries(values)) this.fields[name]?.set(value);
  }

  /** What the address is to say: all that is not as usual. */
  values() {
    const held = Object.values(this.fields).map((one) => [one.name, one.get(), one.usual]);
    const kept = held.filter(([, value, usual]) => value !== usual && value !== null);
    return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
  }
}
