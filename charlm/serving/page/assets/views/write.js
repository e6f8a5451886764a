// Write with the model: samples side by side as they are drawn.

import { el, button } from "../dom.js";
import { area, check, Form, labelField, line, number, slider } from "../parts/form.js";
import { legend } from "../shade.js";
import { count } from "../text.js";
import { Sample } from "../parts/sample.js";

const TOP_K = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000, 0];
const HUNDREDTHS = Array.from({ length: 20 }, (_, at) => (at + 1) / 20);
const TEMPERATURES = Array.from({ length: 41 }, (_, at) => at / 20);
const UNTIL = { n: "\n", t: "\t", "\\": "\\" };

export default {
  id: "write",
  title: "Write",
  suits: (model) => model.kind === "language-model",
  open(view) {
    new Writing(view);
  },
};

class Writing {
  #form;
  #view;
  #samples = [];
  #grid = el("div", { class: "samples" });
  #legend = el("div");
  #begin = button("Write", () => this.#toggle(), { class: "main" });
  #running = null;

  constructor(view) {
    this.#view = view;
    const { model } = view;
    this.#form = new Form(
      [
        area("prompt", "Begin with", { rows: 3, placeholder: "Nothing: a text from its start" }),
        ...labelField(model),
        slider("temperature", "Temperature", TEMPERATURES, { usual: 1, show: warmth }),
        slider("top_k", "Top k", TOP_K, { usual: 0, show: (k) => (k ? count(k) : "all") }),
        slider("top_p", "Top p", HUNDREDTHS, {
          usual: 1,
          show: (p) => (p < 1 ? p.toFixed(2) : "all"),
        }),
        number("max_tokens", "Tokens at most", { min: 1, max: 10000, usual: 300 }),
        number("n", "Samples", { min: 1, max: 12, usual: 3 }),
        line("stop", "Stop before", { hint: "a text; \\n is the end of a line" }),
        number("seed", "Seed", { min: 0, hint: "the same number gives the same texts" }),
        check("colour", "Colour by surprisal", { usual: true }),
        ...(model.has_index ? [check("copies", "Mark what is copied", { usual: true })] : []),
      ],
      (name) => this.#changed(name),
    );
    this.#form.fill(view.values);
    view.atEnd(() => this.#running?.abort());
    const node = (name) => (this.#form.fields[name] ? [this.#form.node(name)] : []);
    const drawing = ["temperature", "top_k", "top_p"].flatMap(node);
    const sizes = ["n", "max_tokens", "seed", "stop"].flatMap(node);
    const looks = ["colour", "copies"].flatMap(node);
    const controls = el(
      "form",
      {
        class: "controls",
        onsubmit: (event) => event.preventDefault(),
        onkeydown: (event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.run();
        },
      },
      ...node("prompt"),
      ...node("label"),
      el("p", { class: "go" }, this.#begin, el("small", {}, "Ctrl + Enter")),
      el(
        "details",
        { class: "options", open: !matchMedia("(max-width: 60rem)").matches },
        el("summary", {}, "Options"),
        el("fieldset", {}, el("legend", {}, "How it is drawn"), drawing),
        el("fieldset", { class: "numbers" }, el("legend", {}, "How much"), sizes),
        el("fieldset", {}, el("legend", {}, "What is shown"), looks),
      ),
    );
    const out = el("div", { class: "results" }, this.#legend, this.#grid);
    view.panel.append(el("div", { class: "aside" }, controls, out));
    this.#showLegend();
    this.#grid.append(el("p", { class: "empty" }, "Samples appear here, side by side."));
  }

  #changed(name) {
    this.#view.save(this.#form.values());
    if (name === "colour") {
      this.#showLegend();
      for (const sample of this.#samples) sample.colour(this.#form.get("colour"));
    }
    if (name === "copies") this.#markCopies();
  }

  #showLegend() {
    this.#legend.replaceChildren(
      ...(this.#form.get("colour") ? [legend(this.#view.model.level, "bits")] : []),
    );
  }

  #toggle() {
    if (this.#running) this.#running.abort();
    else this.run();
  }

  /** Draw samples, and show them as they come. */
  async run() {
    this.#running?.abort();
    const own = new AbortController();
    this.#running = own;
    const prompt = this.#form.get("prompt");
    this.#samples = Array.from({ length: this.#form.get("n") }, (_, at) =>
      this.#sample(prompt, at),
    );
    this.#grid.replaceChildren(...this.#samples.map((sample) => sample.node));
    this.#begin.textContent = "Stop";
    this.#view.well("Writing…");
    try {
      for await (const event of this.#view.stream(this.#body(prompt), own.signal)) {
        for (const choice of event.choices) this.#samples[choice.index].add(choice, event.seed);
      }
      this.#view.well("Done.");
    } catch (error) {
      if (!own.signal.aborted) this.#view.fail(error);
    }
    if (this.#running !== own) return;
    this.#running = null;
    this.#begin.textContent = "Write";
    for (const sample of this.#samples) sample.end();
    await this.#markCopies();
  }

  #sample(prompt, at) {
    const { model, go } = this.#view;
    return new Sample({
      prompt,
      number: at + 1,
      level: model.level,
      isColoured: this.#form.get("colour"),
      goOn: (text) => {
        this.#form.set("prompt", text);
        this.#changed("prompt");
        this.run();
      },
      look: (text) => go("score", { text, ...this.#label() }),
    });
  }

  #label() {
    const label = this.#form.get("label");
    return label ? { label } : {};
  }

  #body(prompt) {
    const get = (name) => this.#form.get(name);
    const stop = get("stop").replace(/\\([nt\\])/g, (_, char) => UNTIL[char]);
    const seed = get("seed");
    return {
      prompt,
      temperature: get("temperature"),
      top_k: get("top_k"),
      top_p: get("top_p"),
      max_tokens: get("max_tokens"),
      n: get("n"),
      logprobs: 6,
      ...(stop ? { stop } : {}),
      ...(seed === null ? {} : { seed }),
      ...this.#label(),
    };
  }

  /** Look up what of the samples stands in the training text, and mark it or not. */
  async #markCopies() {
    const samples = this.#samples.filter((sample) => sample.text);
    if (!this.#form.get("copies") || this.#running) {
      for (const sample of samples) sample.mark(null);
      return;
    }
    const prompt = samples[0]?.prompt ?? "";
    const texts = samples.map((sample) => prompt + sample.text);
    if (!texts.length) return;
    try {
      const found = await this.#view.ask("copied", { texts, prompt });
      samples.forEach((sample, at) => sample.mark(found.results[at], found));
    } catch (error) {
      this.#view.fail(error);
    }
  }
}

const warmth = (value) => (value ? value.toFixed(2) : "0: always the likeliest");
