// How the training of a model went: its losses, its learning rate, the norms of its gradients.

import { Chart } from "../parts/chart.js";
import { button, el } from "../dom.js";
import { check, Form, pick } from "../parts/form.js";
import { count, fixed } from "../text.js";

const AXES = [
  ["step", "steps"],
  ["seconds", "seconds"],
  ["tokens", "tokens"],
];

export default {
  id: "training",
  title: "Training",
  suits: () => true,
  open(view) {
    let found = null;
    const form = new Form(
      [pick("against", "Against", AXES), check("logarithmic", "Logarithmic losses")],
      () => {
        view.save(form.values());
        draw();
      },
    );
    form.fill(view.values);
    const charts = el("div", { class: "charts" });
    const about = el("p", { class: "about" });
    const reading = view.latest(async (signal) => {
      const { results, ...about } = await view.ask("curves", {}, signal);
      found = { ...results[0], served: about.step, isFinished: about.finished };
      view.well();
      draw();
    });

    function draw() {
      if (!found) return;
      const xs = found[form.get("against")];
      const against = AXES.find(([name]) => name === form.get("against"))[1];
      const line = (name, values, kind) => ({ name, kind, points: joined(xs, values) });
      const isLogarithmic = form.get("logarithmic");
      const lines = [
        line("training", found.training_loss, "first"),
        line("validation", found.validation_loss, "second"),
      ];
      const title = `Loss, nats per ${found.unit}`;
      const drawn = [new Chart({ title, against, lines, isLogarithmic, isWide: true }).node];
      const more = [
        ["Learning rate", found.learning_rate],
        ["Norm of the gradient", found.gradient_norm],
      ];
      for (const [name, values] of more) {
        const own = [line(name, values, "first")];
        if (own[0].points.length) drawn.push(new Chart({ title: name, against, lines: own }).node);
      }
      charts.replaceChildren(...drawn);
      about.textContent = told(found);
    }

    view.panel.append(
      el(
        "form",
        { class: "controls inline", onsubmit: (event) => event.preventDefault() },
        form.node("against"),
        form.node("logarithmic"),
        button("Read again", () => reading.now()),
      ),
      el("div", { class: "results" }, about, charts),
    );
    reading.now();
  },
};

/** The points of a curve: where both figures were noted. */
function joined(xs, ys) {
  return xs.map((x, at) => [x, ys[at]]).filter(([x, y]) => x !== null && y !== null);
}

function told(found) {
  const valid = found.validation_loss.filter((value) => value !== null);
  const last = found.step.at(-1);
  const best = valid.length
    ? `, the least validation loss ${fixed(Math.min(...valid), 3)} nats per ${found.unit}`
    : "";
  const state = found.isFinished ? "finished" : "not finished";
  return `${count(last)} steps noted (${state})${best}. Step ${count(found.served)} is served.`;
}
