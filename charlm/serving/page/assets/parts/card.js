// The card beside a token: its figures, for pointers, keys and fingers alike.

import { bars } from "./bars.js";
import { el } from "../dom.js";
import { count, fixed, percent, visible } from "../text.js";

const node = document.getElementById("card");
const MOST = 7;
const UNKNOWN = "<UNK>";
let owner = null;

/** Show the figures of the tokens that stand in a place. */
export function show(place, tokens, more = []) {
  owner = place;
  const parts = tokens.map((token) => told(token, tokens.length === 1));
  node.replaceChildren(...parts.flat(), ...more);
  node.hidden = false;
  stand(place);
}

/** Hide it, or only if it is that of a place. */
export function hide(place = owner) {
  if (place === owner) {
    node.hidden = true;
    owner = null;
  }
}

/** Whether it shows the figures of this place. */
export const isOf = (place) => owner === place;

function told(token, isAlone) {
  const figures = [
    ["surprisal", `${fixed(token.bits, 2)} bits`],
    [token.isPseudo ? "probability given both sides" : "probability", percent(2 ** -token.bits)],
  ];
  if (token.piece === UNKNOWN && token.name !== UNKNOWN) figures.push(["unknown", "spelled out"]);
  if (token.rank) figures.push(["rank", count(token.rank)]);
  if (token.entropy !== undefined && token.entropy !== null) {
    figures.push(["expected surprisal", `${fixed(token.entropy, 2)} bits`]);
  }
  const rows = figures.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value)),
  );
  return [
    el("h3", {}, el("bdi", {}, visible(isAlone ? token.name : (token.piece ?? token.name)))),
    el("dl", {}, rows),
    ...alternatives(token),
  ];
}

function alternatives(token) {
  if (!token.top?.length) return [];
  const shown = token.top.filter((one, at) => at < MOST || one.isOwn);
  const rows = shown.map((one) => ({ ...one, class: one.isOwn ? "own" : undefined }));
  return [bars(rows, { label: "What was likeliest here", scale: "largest" })];
}

/** Below the place or above it, within the window; on a narrow one it lies at the bottom. */
function stand(place) {
  node.style.removeProperty("left");
  node.style.removeProperty("top");
  if (matchMedia("(max-width: 40rem)").matches) return;
  const at = place.getBoundingClientRect();
  const own = node.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - own.width - 8);
  const below = at.bottom + 8;
  const isBelow = below + own.height < innerHeight || at.top < own.height + 8;
  node.style.left = `${Math.max(8, left)}px`;
  node.style.top = `${isBelow ? below : at.top - own.height - 8}px`;
}

addEventListener("keydown", (event) => event.key === "Escape" && hide());
addEventListener("scroll", () => owner && stand(owner), { passive: true });
addEventListener("pointerdown", (event) => {
  if (owner && !owner.contains(event.target) && !node.contains(event.target)) hide();
});
