// Which shade a token has, and what the shades mean. The steps are those of charlm score --html.

import { el } from "./dom.js";

const STEPS = 8;
const BITS = { char: 1, subword: 2, word: 2 };

/** Ranks up to these share a band, as in GLTR (Gehrmann et al. 2019); the rest is the last. */
export const BANDS = [10, 100, 1000];

/** How tokens may be coloured, and what a person is told of it. */
export const COLOURS = [
  ["bits", "how surprising it was"],
  ["rank", "its rank among all tokens"],
];

/** The class of a token: a step of surprisal, or a band of ranks. */
export function shadeOf(token, level, colour) {
  if (colour === "none") return "";
  if (colour === "rank") return token.rank ? `r${bandOf(token.rank)}` : "";
  return `s${stepOf(token.bits, level)}`;
}

/** 0 to 7, each so many bits wide. */
export function stepOf(bits, level) {
  return Math.max(0, Math.min(STEPS - 1, Math.floor(bits / BITS[level])));
}

/** 0 for the ten likeliest, and so on; 3 for what is beyond all bands. */
export function bandOf(rank) {
  const band = BANDS.findIndex((most) => rank <= most);
  return band < 0 ? BANDS.length : band;
}

/** What the bands are called. */
export const bandNames = () => [
  ...BANDS.map((most, at) => `${at ? BANDS[at - 1] + 1 : 1}–${most}`),
  `over ${BANDS.at(-1)}`,
];

/** What the shades mean, as a list. */
export function legend(level, colour) {
  const width = BITS[level];
  const names =
    colour === "rank"
      ? bandNames()
      : Array.from({ length: STEPS }, (_, step) =>
          step === STEPS - 1 ? `${step * width}+` : `${step * width}–${(step + 1) * width}`,
        );
  const letter = colour === "rank" ? "r" : "s";
  const unit = colour === "rank" ? "rank" : "bits";
  const items = names.map((name, at) => el("li", { class: `${letter}${at}` }, name));
  return el(
    "ol",
    { class: "legend", "aria-label": `What the colours mean, in ${unit}` },
    items,
    el("li", { class: "of" }, unit),
  );
}
