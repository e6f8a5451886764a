// A text whose tokens are coloured by a value: orange for more, blue for less than nothing.

import { el } from "../dom.js";
import { fixed, points, shown } from "../text.js";

export class Strip {
  #chars;

  constructor({ text, level, label }) {
    this.#chars = points(text);
    this.node = el("p", { class: `strip ${level}`, "aria-label": label, role: "group" });
  }

  /** Colour tokens {start, end, value} between their least and their most, or around 0. */
  show(values, { isSigned }) {
    const all = values.map((one) => one.value);
    const low = isSigned ? 0 : Math.min(...all);
    const high = isSigned ? Math.max(...all.map(Math.abs)) : Math.max(...all);
    let at = 0;
    const parts = [];
    for (const { start, end, value } of values) {
      if (start < at) continue; // a byte of a character that stands there already
      if (at < start) parts.push(...shown(this.#part(at, start)));
      const span = el("span", { title: fixed(value, 3) }, shown(this.#part(start, end)));
      const share = high > low ? Math.abs(value - low) / (high - low) : 0;
      span.style.setProperty("--share", `${Math.round(share * 100)}%`);
      span.className = value < 0 && isSigned ? "low" : "high";
      parts.push(span);
      at = end;
    }
    this.node.replaceChildren(...parts, ...shown(this.#part(at, this.#chars.length)));
  }

  #part(start, end) {
    return this.#chars.slice(start, end).join("");
  }
}
