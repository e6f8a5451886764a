// Look inside at a text: how open the gates are at each token, and single units along it.

import { button, el } from "../dom.js";
import { area, Form, labelField, pick } from "../parts/form.js";
import { Strip } from "../parts/strip.js";
import { fixed } from "../text.js";

const SAMPLE = 'He said: "The apple (and the pear) came in 1984."\nShe had a pair.';

export default {
  id: "inside",
  title: "Look inside",
  suits: (model) => model.kind === "language-model" && model.cell !== undefined, // no counts
  open(view) {
    const { model } = view;
    const hasGates = !model.cell.startsWith("rnn");
    const layers = Array.from({ length: model.num_layers }, (_, at) => String(at + 1));
    const form = new Form(
      [
        area("text", "Text", { rows: 4, usual: SAMPLE }),
        ...labelField(model, { isNeeded: true }),
        ...(hasGates ? [pick("layer", "Layer of the gates", layers)] : []),
      ],
      () => {
        view.save(values());
        reading.soon();
      },
    );
    let unit = view.values.unit ?? null;
    const values = () => ({ ...form.values(), unit });
    form.fill(view.values);

    const gates = el("div");
    const found = el("div");
    const along = el("div", { "aria-live": "polite" });
    const about = () => ({
      text: form.get("text"),
      ...(form.get("label") ? { label: form.get("label") } : {}),
    });

    const reading = view.latest(async (signal) => {
      if (!form.get("text")) return;
      if (hasGates) {
        const answer = await view.ask(
          "gates",
          { ...about(), layer: Number(form.get("layer")) },
          signal,
        );
        gates.replaceChildren(...gateStrips(answer.results[0], model.level));
      }
      const answer = await view.ask("units", about(), signal);
      view.well();
      found.replaceChildren(unitsTable(answer.results, choose));
      unit ??= answer.results[0]?.unit ?? null;
      if (unit) await showUnit(signal);
    });
    const showUnit = async (signal) => {
      const answer = await view.ask("units", { ...about(), unit }, signal);
      const rows = answer.results.slice(1);
      const strip = new Strip({ text: about().text, level: model.level, label: `Unit ${unit}` });
      strip.show(
        rows.map(({ start, end, value }) => ({ start, end, value })),
        { isSigned: true },
      );
      along.replaceChildren(el("h3", {}, `Unit ${unit}`), strip.node);
      for (const one of found.querySelectorAll("button")) {
        one.setAttribute("aria-pressed", String(one.textContent === unit));
      }
    };
    const choose = (wanted) => {
      unit = wanted;
      view.save(values());
      showUnit().catch((error) => view.fail(error));
    };

    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        Object.keys(form.fields).map((name) => form.node(name)),
      ),
      el(
        "div",
        { class: "results" },
        el(
          "section",
          {},
          el("h2", {}, "Units that follow a feature of the text"),
          el(
            "p",
            { class: "about" },
            "A unit is one number that the model holds in mind: h1.37 is number 37 of h in layer 1. ",
            "Press one to see it along the text: orange where it is high, blue where it is low.",
          ),
          along,
          found,
        ),
        hasGates
          ? el(
              "section",
              {},
              el("h2", {}, "Gates"),
              el(
                "p",
                { class: "about" },
                "The darker a token, the more open the gate there, as a mean over the units of the ",
                "layer. An open update or input gate takes in what comes; an open forget gate keeps ",
                "what was.",
              ),
              gates,
            )
          : "",
      ),
    );
    reading.now();
  },
};

function gateStrips(found, level) {
  return found.gates.flatMap((gate) => {
    const strip = new Strip({ text: found.text, level, label: `${gate.gate} gate` });
    const values = gate.mean
      .map((value, at) => ({ start: found.starts[at], end: found.ends[at], value }))
      .slice(1);
    strip.show(values, { isSigned: false });
    const range = values.map((one) => one.value);
    const told = `from ${fixed(Math.min(...range))} to ${fixed(Math.max(...range))}`;
    return [el("h3", {}, `${gate.gate} `, el("small", {}, told)), strip.node];
  });
}

function unitsTable(rows, choose) {
  if (!rows.length) return el("p", { class: "empty" }, "No feature varies in this text.");
  const features = [...new Set(rows.map((row) => row.feature))];
  const body = features.map((feature) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, feature),
      rows
        .filter((row) => row.feature === feature)
        .map((row) =>
          el(
            "td",
            {},
            button(row.unit, () => choose(row.unit), { class: "unit" }),
            " ",
            fixed(row.correlation),
          ),
        ),
    ),
  );
  return el(
    "div",
    { class: "wide" },
    el(
      "table",
      { class: "following" },
      el("caption", {}, "The three units that follow each feature best, with the correlation"),
      el("tbody", {}, body),
    ),
  );
}
