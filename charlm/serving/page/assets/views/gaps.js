// Fill the gaps of a text, with a model that reads both sides of them.

import { bars } from "../parts/bars.js";
import { button, el } from "../dom.js";
import { area, Form, number } from "../parts/form.js";
import { several, shown, visible } from "../text.js";

const GAP = "[?]";
const GAPS = /\[\?\d*\]/;

export default {
  id: "gaps",
  title: "Fill gaps",
  suits: (model) => model.kind === "cloze",
  open(view) {
    const form = new Form(
      [
        area("text", "Text with gaps", {
          usual: "The apple and p[?][?]r salad",
          hint: "[?] is a gap of one token, [?5] of five",
        }),
        number("top", "Fillings", { min: 1, max: 100, usual: 10 }),
      ],
      () => {
        view.save(form.values());
        filling.soon();
      },
    );
    form.fill(view.values);
    const list = el("div");
    const { input } = form.fields.text;
    const insert = () => {
      input.setRangeText(GAP, input.selectionStart, input.selectionEnd, "end");
      input.focus();
      input.dispatchEvent(new Event("input"));
    };

    const filling = view.latest(async (signal) => {
      const text = form.get("text");
      if (!GAPS.test(text)) {
        view.well();
        list.replaceChildren(el("p", { class: "empty" }, "Put a gap into the text."));
        return;
      }
      const answer = await view.ask("fill", { texts: text, top: form.get("top") }, signal);
      const [found] = answer.results;
      view.well(several(found.fillings.length, "filling"));
      const rows = found.fillings.map((one) => ({
        nodes: filled(found.text, one.gaps),
        p: one.probability,
      }));
      const label = "The likeliest fillings";
      list.replaceChildren(bars(rows, { label, scale: "largest" }));
    });

    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        form.node("text"),
        el("p", { class: "go" }, button("Insert a gap", insert)),
        form.node("top"),
      ),
      el("div", { class: "results" }, list),
    );
    filling.now();
  },
};

/** The text with its gaps filled, and what fills them to be seen. */
function filled(text, gaps) {
  const between = text.split(GAPS);
  return between.flatMap((part, at) =>
    at ? [el("b", {}, visible(gaps[at - 1])), ...shown(part)] : shown(part),
  );
}
