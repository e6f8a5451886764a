// One sample: its text as it comes, each token coloured, and what of it is copied.

import { button, el, say } from "../dom.js";
import { Heat } from "./heat.js";
import { alternatives } from "../scored.js";
import { count, fixed, points, several, shown } from "../text.js";

const ENDS = { stop: "ended by itself", length: "cut at the limit of tokens" };

export class Sample {
  /** All that was drawn so far. */
  text = "";
  #tokens = [];
  #chars = []; // code points of the text
  #bits = 0;
  #copies = [];
  #isColoured;
  #level;
  #reason = null;
  #seed = null;
  #label = null;
  #isDrawn = false;
  #about = el("p", { class: "about" }, "…");
  #copied = el("p", { class: "about" });
  #actions = el("p", { class: "actions", hidden: true });

  constructor({ prompt, number, level, isColoured, goOn, look }) {
    this.prompt = prompt;
    this.#isColoured = isColoured;
    this.#level = level;
    this.#heat = new Heat({
      label: `Tokens of sample ${number}`,
      level,
      more: (token) => this.#copyAt(token),
    });
    this.#body = el("div", { class: `text ${level}`, "aria-live": "polite", "aria-busy": "true" });
    this.#body.append(el("span", { class: "given" }, shown(prompt)), this.#heat.node);
    const copy = async () => {
      await navigator.clipboard.writeText(prompt + this.text);
      say("Copied.");
    };
    this.#actions.append(
      button("Go on", () => goOn(prompt + this.text), { title: "Write on from the end of this" }),
      button("Look closer", () => look(prompt + this.text), { title: "Score this text" }),
      ...(navigator.clipboard ? [button("Copy", copy)] : []),
    );
    this.node = el(
      "article",
      { class: "sample", "aria-label": `Sample ${number}` },
      this.#body,
      this.#about,
      this.#copied,
      this.#actions,
    );
  }

  #heat;
  #body;

  /** Take in a part of a choice, as an event brings it. */
  add(choice, seed) {
    this.text += choice.text;
    this.#chars.push(...points(choice.text));
    this.#seed = seed;
    this.#reason ??= choice.finish_reason;
    this.#label = choice.label ?? null;
    const told = choice.logprobs;
    told?.tokens.forEach((name, at) => {
      const start = told.text_offset[at];
      const length = this.#length(name, start);
      const bits = Math.max(0, -told.token_logprobs[at] / Math.LN2);
      this.#bits += bits;
      const top = alternatives(told.top_logprobs[at], name, this.#level);
      this.#tokens.push({ start, end: start + length, name, bits, top });
    });
    this.#draw();
    if (this.#reason) this.end();
  }

  /** How much of the text a token is: nothing, where its name is not what it adds. */
  #length(name, start) {
    const chars = points(name);
    const there = this.#chars.slice(start, start + chars.length).join("");
    return there && name.startsWith(there) ? chars.length : 0;
  }

  /** Nothing more will come. */
  end() {
    this.#body.setAttribute("aria-busy", "false");
    this.#actions.hidden = false;
    this.#isDrawn = true;
    this.#draw();
  }

  colour(isColoured) {
    this.#isColoured = isColoured;
    this.#draw();
  }

  /** Mark what /v1/copied found of the prompt and the text; null marks nothing. */
  mark(result, { least } = {}) {
    const before = points(this.prompt).length;
    const isSame = result && points(result.text).length === before + this.#chars.length;
    const copies = (result?.copies ?? []).map((one) => ({
      ...one,
      start: one.start - before,
      end: one.end - before,
    }));
    this.#copies = isSame ? copies : [];
    this.#copied.replaceChildren(...(result ? summary(result, copies, least) : []));
    this.#draw();
  }

  #draw() {
    const colour = this.#isColoured ? "bits" : "none";
    this.#heat.show(this.#chars, this.#tokens, { colour, copies: this.#copies });
    const parts = [several(this.#tokens.length, "token")];
    if (this.#chars.length)
      parts.push(`${fixed(this.#bits / this.#chars.length)} bits per character`);
    if (this.#isDrawn) parts.push(ENDS[this.#reason] ?? "stopped");
    if (this.#label !== null) parts.push(`label ${this.#label}`);
    if (this.#seed !== null) parts.push(`seed ${this.#seed}`);
    this.#about.textContent = parts.join(" · ");
  }

  #copyAt(token) {
    const one = this.#copies.find((copy) => copy.start < token.end && token.start < copy.end);
    if (!one) return [];
    const times = one.times_in_training_text;
    const often = times === 1 ? "once" : `${count(times)} times`;
    return [
      el(
        "p",
        { class: "of-copy" },
        `One of ${count(one.end - one.start)} characters in a row that stand in the training text `,
        `${often}, first in its sequence ${count(one.training_sequence)}.`,
      ),
    ];
  }
}

function summary(result, copies, least) {
  if (result.in_training_text) {
    return [el("b", {}, "The whole text stands in the training text.")];
  }
  if (!copies.length) return [`Nothing copied of ${count(least)} characters or more.`];
  const longest = Math.max(...copies.map((one) => one.end - one.start));
  const number = several(copies.length, "copied span");
  return [
    el("span", { class: "copied" }, number),
    `, the longest of ${count(longest)} characters.`,
  ];
}
