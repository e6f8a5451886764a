// Choose a label for a text: what a classifier says, or a model with labels by Bayes' rule.

import { bars } from "../parts/bars.js";
import { el } from "../dom.js";
import { area, Form } from "../parts/form.js";
import { percent } from "../text.js";

const MOST = 20;

export default {
  id: "labels",
  title: "Label",
  suits: (model) =>
    model.kind === "classifier" || (model.kind === "language-model" && Boolean(model.labels)),
  open(view) {
    const form = new Form([area("text", "Text", { placeholder: "Type or paste a text" })], () => {
      view.save(form.values());
      asking.soon();
    });
    form.fill(view.values);
    const list = el("div");
    const asking = view.latest(async (signal) => {
      const text = form.get("text");
      if (!text) {
        list.replaceChildren(el("p", { class: "empty" }, "The likeliest labels appear here."));
        return;
      }
      const answer = await view.ask("classify", { texts: text, top: MOST }, signal);
      const [found] = answer.results;
      const all = found.predictions ?? [{ label: found.predicted, probability: found.probability }];
      view.well(`${found.predicted}: ${percent(found.probability)}`);
      const rows = all.map((one) => ({ nodes: one.label, p: one.probability }));
      list.replaceChildren(bars(rows, { label: "The likeliest labels" }));
    });
    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        form.node("text"),
      ),
      el("div", { class: "results" }, list),
    );
    asking.now();
  },
};
