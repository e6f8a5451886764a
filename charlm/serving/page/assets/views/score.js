// Score a text as it is typed: how surprising each token was, and what had been likelier.

import { button, el } from "../dom.js";
import { area, Form, labelField, pick } from "../parts/form.js";
import { Heat } from "../parts/heat.js";
import { figures, scored, withAlternatives } from "../scored.js";
import { bandNames, bandOf, COLOURS, legend } from "../shade.js";
import { count, fixed, nameOf, percent, several, visible } from "../text.js";

export default {
  id: "score",
  title: "Score",
  suits: (model) => model.kind === "language-model" || model.kind === "cloze",
  open(view) {
    const { model } = view;
    const isCausal = model.kind === "language-model";
    const form = new Form(
      [
        area("text", "Text", { rows: 5, placeholder: "Type or paste a text" }),
        ...labelField(model),
        pick("colour", "Colour each token by", COLOURS),
      ],
      (name) => {
        view.save(form.values());
        if (name === "colour") draw();
        else scoring.soon();
      },
    );
    form.fill(view.values);

    let found = null;
    const heat = new Heat({
      label: "Tokens of the text",
      level: model.level,
      look: () => isCausal && found && !found.isAsked && alternatives.now(),
    });
    const sums = el("div");
    const meaning = el("div");
    const bands = el("div");
    const table = el(
      "details",
      { ontoggle: () => fill() },
      el("summary", {}, "Figures of each token"),
    );
    const text = () => form.get("text");
    const elsewhere = isCausal
      ? el(
          "p",
          { class: "actions" },
          button("What comes next", () => view.go("next", { prefix: text(), ...label() })),
          button("Look inside", () => view.go("inside", { text: text(), ...label() })),
          button("Compare", () => view.go("compare", { a: text(), b: text(), ...label() })),
        )
      : "";
    const results = el(
      "div",
      { class: "results" },
      meaning,
      heat.node,
      sums,
      bands,
      table,
      elsewhere,
    );

    const scoring = view.latest(async (signal) => {
      const body = { texts: text(), per_token: true, ...label() };
      const answer = await view.ask("score", body, signal);
      found = scored(answer.results[0]);
      view.well(`${figures(found).textContent}`);
      draw();
    });
    const alternatives = view.latest(async (signal) => {
      const own = found;
      own.isAsked = true;
      const echoed = { prompt: own.text, echo: true, max_tokens: 0, logprobs: 8, ...label() };
      const [before, after] = await Promise.all([
        view.ask("completions", echoed, signal),
        view.ask("next", { prefix: own.text, top: 8, ...label() }, signal),
      ]);
      withAlternatives(own.tokens, before.choices[0].logprobs, model.level);
      const end = own.tokens.at(-1);
      end.top ??= after.results.map((one) => ({
        name: nameOf(one, model.level),
        p: one.probability,
        isOwn: one.text === "" && one.token === end.name,
      }));
      heat.refresh();
    });
    const label = () => (form.get("label") ? { label: form.get("label") } : {});

    function draw() {
      if (!found) return;
      const colour = form.get("colour");
      heat.show(found.text, found.tokens, { colour });
      meaning.replaceChildren(legend(model.level, colour));
      sums.replaceChildren(figures(found));
      bands.replaceChildren(ranks(found.tokens));
      fill();
    }

    function fill() {
      table.querySelector("table")?.remove();
      if (table.open && found) table.append(figuresTable(found));
    }

    const fields = ["text", "label", "colour"].filter((name) => form.fields[name]);
    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        fields.map((name) => form.node(name)),
      ),
      results,
    );
    scoring.now();
  },
};

/** How many tokens were among the likeliest 10, 100, 1000. */
function ranks(tokens) {
  const ranked = tokens.filter((token) => token.rank);
  if (!ranked.length) return "";
  const shares = bandNames().map((name, at) => {
    const number = ranked.filter((token) => bandOf(token.rank) === at).length;
    return { name, at, number, share: number / ranked.length };
  });
  const rail = el("div", { class: "bands", "aria-hidden": "true" });
  for (const { at, share } of shares.filter((one) => one.number)) {
    const part = el("span", { class: `r${at}` });
    part.style.flexGrow = share;
    rail.append(part);
  }
  const told = shares.map(({ name, number, share }) =>
    el("li", {}, `rank ${name}: `, el("b", {}, percent(share)), ` (${count(number)})`),
  );
  return el("div", {}, rail, el("ul", { class: "figures" }, told));
}

function figuresTable({ tokens, isPseudo }) {
  const names = ["token", "bits", isPseudo ? "P given both sides" : "P", "rank", "expected bits"];
  const rows = tokens.map((token) =>
    el(
      "tr",
      {},
      el("td", {}, el("bdi", {}, visible(token.name))),
      el("td", {}, fixed(token.bits, 3)),
      el("td", {}, percent(2 ** -token.bits)),
      el("td", {}, token.rank ? count(token.rank) : "–"),
      el("td", {}, fixed(token.entropy, 3)),
    ),
  );
  return el(
    "table",
    {},
    el("caption", { class: "unseen" }, several(tokens.length, "token")),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        names.map((name) => el("th", { scope: "col" }, name)),
      ),
    ),
    el("tbody", {}, rows),
  );
}
