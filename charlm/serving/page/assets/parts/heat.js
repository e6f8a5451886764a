// A text of tokens, each coloured; figures at the token that is pointed at or gone to by keys.

import * as card from "./card.js";
import { el } from "../dom.js";
import { shadeOf } from "../shade.js";
import { points, shown, visible } from "../text.js";
import { places } from "./places.js";

const NONE = [];

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
    this.tokens = this.copies = null; // what is shown
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
  show(text, tokens, { colour = this.colour, copies = NONE } = {}) {
    const has = { tokens, colour, copies };
    const isLonger = Object.entries(has).every(([name, value]) => this[name] === value);
    const kept = isLonger ? this.#settled() : 0;
    Object.assign(this, has);
    const shade = (token) => shadeOf(token, this.level, colour);
    const begin = kept ? this.places[kept] : undefined;
    const wanted = places(Array.isArray(text) ? text : points(text), tokens, copies, shade, begin);
    let same = 0;
    while (same < wanted.length && this.places[kept + same]?.key === wanted[same].key) {
      this.places[kept + same].tokens = wanted[same].tokens;
      same += 1;
    }
    for (const gone of this.places.splice(kept + same)) gone.nodes.forEach((node) => node.remove());
    for (const place of wanted.slice(same)) {
      place.nodes = this.#drawn(place);
      this.places.push(place);
      this.node.append(...place.nodes);
    }
    const first = this.places.find((place) => place.span);
    if (first && !this.node.querySelector("[tabindex='0']")) first.span.tabIndex = 0;
  }

  /** The first place that may change where the same tokens have become more. */
  #settled() {
    let at = Math.max(0, this.places.length - 3);
    while (at && (this.places[at].isEnd || !this.places[at].tokens.length)) at -= 1;
    return at;
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
