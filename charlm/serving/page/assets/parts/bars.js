// Probabilities as bars.

import { el } from "../dom.js";
import { percent, visible } from "../text.js";

/**
 * A list of bars: rows have a name (or nodes instead) and a probability p, and may have a note and
 * a class. With ``pick`` each can be pressed, unless a row says that it ends there.
 */
export function bars(rows, { label, pick, scale = 1 } = {}) {
  const compared = rows.filter((row) => !row.isRest).map((row) => row.p);
  const most = scale === "largest" ? Math.max(...compared, 1e-12) : scale;
  const items = rows.map((row) => {
    const inner = [
      el("span", { class: "name" }, el("bdi", {}, row.nodes ?? visible(row.name))),
      el("span", { class: "rail" }, bar(row.p / most)),
      el("span", { class: "value" }, percent(row.p)),
    ];
    if (row.note) inner.push(el("span", { class: "note" }, row.note));
    const isFixed = !pick || row.isEnd;
    const inside = isFixed
      ? el("div", { class: "row" }, inner)
      : el("button", { type: "button", class: "row", onclick: () => pick(row) }, inner);
    return el("li", { class: row.class }, inside);
  });
  return el("ol", { class: "bars", "aria-label": label }, items);
}

/** A bar that fills a share of its rail. */
export function bar(share) {
  const found = el("span", { class: "fill" });
  found.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return found;
}
