// A text of tokens, each coloured; figures at the token that is pointed at or gone to by keys.

import * as card from "./card.js";
import { el } from "../dom.js";
import { shadeOf } from "../shade.js";
import { isMark, points, shown, visible } from "../text.js";

/**
 * Shows tokens: {start, end, name, bits, rank, entropy, top}, ranges in code points of the text.
 * ``more`` makes nodes for the card of a token, ``look`` is told of a token that is looked at.
 */
export class Heat {
  constructor({ label, level, more = () => [], look = () => {} }) {
    this.level = level;
    this.more = more;
    this.look = look;
    this.colour = "bits";
    this.places = []; // {key, nodes, span, tokens}
    this.node = el("div", {
      class: `heat ${level}`,
      role: "listbox",
      "aria-label": label,
      onpointerover: (event) => event.pointerType === "mouse" && this.#point(event.target),
      onpointerleave: () => !this.node.contains(document.activeElement) && card.hide(),
      onclick: (event) => this.#point(event.target),
      onfocusin: (event) => this.#point(event.target),
      onfocusout: () => card.hide(),
      onkeydown: (event) => this.#move(event),
    });
  }

  /** Show a text; what stands as it stood before is left in place. */
  show(text, tokens, { colour = this.colour, copies = [] } = {}) {
    this.colour = colour;
    const wanted = places(points(text), tokens, copies, (token) =>
      shadeOf(token, this.level, colour),
    );
    let same = 0;
    while (same < wanted.length && this.places[same]?.key === wanted[same].key) same += 1;
    for (const gone of this.places.splice(same)) gone.nodes.forEach((node) => node.remove());
    this.places.forEach((place, at) => Object.assign(place, { tokens: wanted[at].tokens }));
    for (const place of wanted.slice(same)) {
      place.nodes = this.#drawn(place);
      this.places.push(place);
      this.node.append(...place.nodes);
    }
    const first = this.places.find((place) => place.span);
    if (first && !this.node.querySelector("[tabindex='0']")) first.span.tabIndex = 0;
  }

  /** Show the card again, where it is of this text: something more is known. */
  refresh() {
    const open = this.places.find((place) => place.span && card.isOf(place.span));
    if (open) this.#card(open);
  }

  #drawn(place) {
    const before = place.lead.flatMap(run);
    if (!place.tokens.length) return before;
    const names = ["t", place.shade, place.isEnd && "end"];
    const inner = place.isEnd ? [visible(place.tokens[0].name)] : place.runs.flatMap(run);
    place.span = el("span", { class: names.filter(Boolean).join(" "), role: "option" }, inner);
    place.span.tabIndex = -1;
    place.span.place = place;
    return [...before, place.span];
  }

  #point(target) {
    const span = target.closest?.("[role=option]");
    if (span?.place) this.#card(span.place);
  }

  #card(place) {
    this.look(place.tokens[0]);
    card.show(place.span, place.tokens, this.more(place.tokens[0]));
  }

  #move(event) {
    const spans = this.places.filter((place) => place.span).map((place) => place.span);
    const at = spans.indexOf(document.activeElement);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 };
    const ends = { Home: 0, End: spans.length - 1 };
    if (at < 0 || !(event.key in steps || event.key in ends)) return;
    event.preventDefault();
    const wanted = event.key in ends ? ends[event.key] : at + steps[event.key];
    const next = spans[Math.max(0, Math.min(spans.length - 1, wanted))];
    spans[at].tabIndex = -1;
    spans[at].removeAttribute("aria-selected");
    next.tabIndex = 0;
    next.setAttribute("aria-selected", "true");
    next.focus();
  }
}

/** A part of a place that is marked as a copy, or not. */
function run(one) {
  const nodes = shown(one.text);
  return one.mark ? [el("span", { class: "copied" }, nodes)] : nodes;
}

/**
 * The text cut into places that each have one shade. Tokens that share a character stand together,
 * as does a character with its marks; a space that a longer token begins with stands before it.
 */
function places(chars, tokens, copies, shade) {
  const found = [];
  const marks = new Uint8Array(chars.length);
  for (const { start, end } of copies) marks.fill(1, start, end);
  let at = 0;
  for (const token of tokens.filter((one) => one.start < one.end)) {
    const last = found.at(-1);
    const standsUpon = token.start === at && isMark(chars[at] ?? "") && chars[at - 1] !== "\n";
    if (last && (token.start < at || standsUpon)) {
      last.tokens.push(token);
      last.end = at = Math.max(at, token.end);
      continue;
    }
    const isLed = chars[token.start] === " " && token.end - token.start > 1;
    const start = token.start + (isLed ? 1 : 0);
    found.push({ from: at, start, end: token.end, tokens: [token] });
    at = token.end;
  }
  const end = chars.length;
  if (at < end) found.push({ from: at, start: end, end, tokens: [] });
  for (const token of tokens.filter((one) => one.start === one.end)) {
    found.push({ from: end, start: end, end, tokens: [token], isEnd: true });
  }
  return found.map((place) => {
    const lead = marked(chars, place.from, place.start, marks);
    const runs = marked(chars, place.start, place.end, marks);
    const shown = place.tokens.length ? shade(sum(place.tokens)) : "";
    return {
      ...place,
      lead,
      runs,
      shade: shown,
      key: JSON.stringify([lead, runs, shown, place.isEnd]),
    };
  });
}

const sum = (tokens) =>
  tokens.length === 1
    ? tokens[0]
    : { bits: tokens.reduce((all, one) => all + one.bits, 0), rank: tokens[0].rank };

/** A range cut where copies begin and end. */
function marked(chars, start, end, marks) {
  const runs = [];
  for (let at = start; at < end; at += 1) {
    const mark = Boolean(marks[at]);
    if (runs.at(-1)?.mark === mark) runs.at(-1).text += chars[at];
    else runs.push({ mark, text: chars[at] });
  }
  return runs;
}
