// Curves as a drawing, with the figures of the place that is pointed at or gone to by keys.

import { el, svg } from "../dom.js";

const WIDTHS = [640, 400]; // of a wide one, and of one that stands beside others
const HEIGHT = 280;
const LEFT = 56;
const BOTTOM = 34;
const TOP = 10;
const RIGHT = 12;
const MOST_POINTS = 1500;

export class Chart {
  #x;
  #y;
  #lines;
  #told = el("p", { class: "told", "aria-live": "polite" });
  #mark = svg("line", { class: "mark", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  #places;
  #at = null;
  #against;
  #width;

  /** lines are {name, kind, points}, points pairs [x, y] with x rising. */
  constructor({ title, against, lines, isLogarithmic = false, isWide = false }) {
    const level = isWide ? 2 : 3;
    const hasRoom = isWide && matchMedia("(min-width: 40rem)").matches;
    this.#width = WIDTHS[hasRoom ? 0 : 1];
    this.#lines = lines
      .filter((line) => line.points.length)
      .map((line) => ({ ...line, points: thinned(line.points) }));
    this.#against = against;
    const all = this.#lines.flatMap((line) => line.points);
    this.#places = [...new Set(all.map(([x]) => x))].sort((a, b) => a - b);
    this.#x = scale(
      all.map(([x]) => x),
      LEFT,
      this.#width - RIGHT,
      false,
    );
    this.#y = scale(
      all.map(([, y]) => y),
      HEIGHT - BOTTOM,
      TOP,
      isLogarithmic,
    );
    const drawing = svg(
      "svg",
      {
        viewBox: `0 0 ${this.#width} ${HEIGHT}`,
        role: "img",
        tabindex: "0",
        "aria-label": this.#spoken(title),
      },
      ...this.#axes(),
      ...this.#lines.map((line) => svg("path", { class: line.kind, d: this.#path(line.points) })),
      this.#mark,
    );
    drawing.addEventListener("pointermove", (event) => this.#point(event, drawing));
    drawing.addEventListener("pointerdown", (event) => this.#point(event, drawing));
    drawing.addEventListener("keydown", (event) => this.#key(event));
    const heading = el(`h${level}`, {}, title);
    const names = this.#lines.map((line) => el("li", { class: line.kind }, line.name));
    const key = names.length > 1 ? [el("ul", { class: "key-of-lines" }, names)] : [];
    this.node = el("figure", { class: "chart" }, heading, ...key, drawing, this.#told);
    if (!all.length)
      this.node.replaceChildren(heading, el("p", { class: "empty" }, "Nothing was noted."));
  }

  #spoken(title) {
    const ends = this.#lines.map((line) => {
      const [first, last] = [line.points[0], line.points.at(-1)];
      return `${line.name} from ${short(first[1])} to ${short(last[1])}`;
    });
    return `${title}: ${ends.join("; ")}. Arrow keys move along it.`;
  }

  #path(points) {
    if (points.length === 1) points = [points[0], points[0]];
    return points
      .map(
        ([x, y], at) => `${at ? "L" : "M"}${this.#x.at(x).toFixed(1)} ${this.#y.at(y).toFixed(1)}`,
      )
      .join("");
  }

  #axes() {
    const low = HEIGHT - BOTTOM;
    const nodes = [];
    for (const y of this.#y.ticks) {
      const at = this.#y.at(y);
      nodes.push(svg("line", { class: "grid", x1: LEFT, x2: this.#width - RIGHT, y1: at, y2: at }));
      nodes.push(svg("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, short(y)));
    }
    for (const x of this.#x.ticks) {
      nodes.push(svg("text", { x: this.#x.at(x), y: low + 16, "text-anchor": "middle" }, short(x)));
    }
    const middle = (LEFT + this.#width - RIGHT) / 2;
    nodes.push(svg("text", { x: middle, y: HEIGHT - 3, "text-anchor": "middle" }, this.#against));
    nodes.push(svg("line", { class: "axis", x1: LEFT, x2: this.#width - RIGHT, y1: low, y2: low }));
    return nodes;
  }

  #point(event, drawing) {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.#width;
    const away = this.#places.map((place) => Math.abs(this.#x.at(place) - x));
    this.#tell(away.indexOf(Math.min(...away)));
  }

  #key(event) {
    const last = this.#places.length - 1;
    const moves = {
      ArrowRight: (this.#at ?? -1) + 1,
      ArrowLeft: (this.#at ?? 1) - 1,
      Home: 0,
      End: last,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#tell(Math.max(0, Math.min(last, moves[event.key])));
  }

  #tell(at) {
    this.#at = at;
    const place = this.#places[at];
    const x = this.#x.at(place);
    for (const name of ["x1", "x2"]) this.#mark.setAttribute(name, x);
    this.#mark.setAttribute("visibility", "visible");
    const figures = this.#lines.map((line) => {
      const last = line.points.findLast(([where]) => where <= place) ?? line.points[0];
      return `${line.name} ${short(last[1])}`;
    });
    this.#told.textContent = `${short(place)} ${this.#against}: ${figures.join(", ")}`;
  }
}

/** Fewer points where there are more than can be seen. */
function thinned(points) {
  const step = Math.ceil(points.length / MOST_POINTS);
  return step > 1 ? points.filter((_, at) => at % step === 0 || at === points.length - 1) : points;
}

/** From figures to places between two ends, with round figures to write there. */
function scale(values, from, to, isLogarithmic) {
  const positive = isLogarithmic ? values.filter((value) => value > 0) : values;
  const form = isLogarithmic ? Math.log10 : (value) => value;
  let low = Math.min(...positive);
  let high = Math.max(...positive);
  if (!(low < high)) {
    const room = Math.abs(low) * 0.1 || 1;
    low -= isLogarithmic ? low / 2 : room;
    high += room;
  }
  const share = (value) => (form(Math.max(value, low)) - form(low)) / (form(high) - form(low));
  const at = (value) => from + share(value) * (to - from);
  return { at, ticks: round(low, high) };
}

/** Four to eight round figures within a range. */
function round(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let number = Math.ceil(low / step); number * step <= high * (1 + 1e-9); number += 1) {
    found.push(Number((number * step).toPrecision(12)));
  }
  return found;
}

/** A figure in few characters: 1,200 as 1.2k, 0.00012 as it is. */
function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace("e-", "e−");
  return String(Number(value.toPrecision(4)));
}
