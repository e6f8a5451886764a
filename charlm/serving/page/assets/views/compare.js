// Compare two sentences: which one is likelier, by how much, and where that comes from.

import { el } from "../dom.js";
import { area, Form, labelField } from "../parts/form.js";
import { Heat } from "../parts/heat.js";
import { figures, scored } from "../scored.js";
import { legend } from "../shade.js";
import { fixed, points, power, visible } from "../text.js";

export default {
  id: "compare",
  title: "Compare",
  suits: (model) => model.kind === "language-model" || model.kind === "cloze",
  open(view) {
    const { model } = view;
    const form = new Form(
      [
        area("a", "One text", { rows: 2, usual: "The apple and pear salad was delicious." }),
        area("b", "Another text", { rows: 2, usual: "The apple and pair salad was delicious." }),
        ...labelField(model),
      ],
      () => {
        view.save(form.values());
        comparing.soon();
      },
    );
    form.fill(view.values);
    const verdict = el("p", { class: "verdict", "aria-live": "polite" });
    const parts = el("div");
    const sides = ["Tokens of one text", "Tokens of another text"].map((label) => ({
      heat: new Heat({ label, level: model.level }),
      sums: el("div"),
    }));

    const comparing = view.latest(async (signal) => {
      const label = form.get("label") ? { label: form.get("label") } : {};
      const body = { texts: [form.get("a"), form.get("b")], per_token: true, ...label };
      const answer = await view.ask("score", body, signal);
      const found = answer.results.map(scored);
      view.well();
      found.forEach((one, at) => {
        sides[at].heat.show(one.text, one.tokens);
        sides[at].sums.replaceChildren(figures(one));
      });
      verdict.replaceChildren(...told(found));
      parts.replaceChildren(partsTable(found));
    });

    view.panel.append(
      el(
        "form",
        { class: "controls pair", onsubmit: (event) => event.preventDefault() },
        Object.keys(form.fields).map((name) => form.node(name)),
      ),
      el(
        "div",
        { class: "results" },
        verdict,
        legend(model.level, "bits"),
        sides.map(({ heat, sums }) => el("section", { class: "side" }, heat.node, sums)),
        parts,
      ),
    );
    comparing.now();
  },
};

/** Which text is likelier. */
function told([a, b]) {
  const difference = a.nats - b.nats;
  if (a.text === b.text) return ["Both texts are the same."];
  if (Math.abs(difference) < 1e-6) return ["Both texts are as likely."];
  const which = difference > 0 ? "The first text" : "The second text";
  const times = el("b", {}, `${power(Math.abs(difference) / Math.LN10)} times`);
  const measure = a.isPseudo ? " the pseudo-likelihood of the other." : " as likely as the other.";
  return [el("b", {}, which), a.isPseudo ? " has " : " is ", times, measure];
}

/** The difference by parts: where the texts are the same, where they differ, and the rest. */
function partsTable([a, b]) {
  if (a.text === b.text) return "";
  const [first, second] = [points(a.text), points(b.text)];
  const most = Math.min(first.length, second.length);
  let head = 0;
  while (head < most && first[head] === second[head]) head += 1;
  while (head && isLetter(first[head - 1])) head -= 1; // whole words are told apart
  let tail = 0;
  while (tail < most - head && first.at(-1 - tail) === second.at(-1 - tail)) tail += 1;
  while (tail && isLetter(first.at(-tail))) tail -= 1;
  const cuts = [head, first.length - tail, second.length - tail];
  const rows = [
    ["before they differ", ...[a, b].map((one) => sum(one, (token) => token.end <= head))],
    [
      [quoted(first.slice(head, cuts[1])), " against ", quoted(second.slice(head, cuts[2]))],
      ...[a, b].map((one, at) =>
        sum(one, (token) => token.end > head && token.start < cuts[at + 1]),
      ),
    ],
    [
      "what comes after, and the end",
      ...[a, b].map((one, at) =>
        sum(one, (token) => token.end > head && token.start >= cuts[at + 1]),
      ),
    ],
  ];
  const body = rows.map(([name, one, other]) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      [one, other, one - other].map((value) => el("td", {}, fixed(value, 2))),
    ),
  );
  const heads = ["Where", "one: bits", "another: bits", "difference"];
  return el(
    "table",
    { class: "parts" },
    el("caption", {}, "Surprisal by parts: what the model did not expect costs bits"),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((name) => el("th", { scope: "col" }, name)),
      ),
    ),
    el("tbody", {}, body),
  );
}

const quoted = (chars) => el("q", {}, el("bdi", {}, visible(chars.join(""))));

const isLetter = (char) => /[\p{L}\p{M}\p{N}]/u.test(char ?? "");

/** The bits of some of the tokens. */
const sum = ({ tokens }, which) => tokens.filter(which).reduce((all, token) => all + token.bits, 0);
