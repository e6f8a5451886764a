// Write the target of a source: a translation, a pronunciation, an inflected form.

import { bar, bars } from "../parts/bars.js";
import { el } from "../dom.js";
import { area, Form, line, number } from "../parts/form.js";
import { fixed, percent, visible } from "../text.js";

export default {
  id: "pairs",
  title: "Translate",
  suits: (model) => model.kind === "translator",
  open(view) {
    const form = new Form(
      [
        area("source", "Source", { rows: 2, placeholder: "What is to be translated" }),
        ...(view.model.has_features
          ? [line("features", "Features", { placeholder: "V;PST" })]
          : []),
        number("n_best", "Targets", { min: 1, max: 20, usual: 5 }),
        number("beam", "Beam", {
          min: 1,
          max: 50,
          usual: 5,
          hint: "hypotheses kept at each token",
        }),
      ],
      () => {
        view.save(form.values());
        writing.soon();
      },
    );
    form.fill(view.values);
    const list = el("div");
    const tokens = el("div", { "aria-live": "polite" });
    const source = () => ({
      source: form.get("source"),
      ...(form.get("features") ? { features: form.get("features") } : {}),
    });

    const writing = view.latest(async (signal) => {
      const { source: text, ...features } = source();
      tokens.replaceChildren();
      if (!text) {
        list.replaceChildren(el("p", { class: "empty" }, "Targets appear here, the best first."));
        return;
      }
      const how = { n_best: form.get("n_best"), beam: form.get("beam") };
      const answer = await view.ask("translate", { sources: text, ...features, ...how }, signal);
      const [{ targets }] = answer.results;
      view.well(targets[0]?.text);
      const rows = targets.map((one) => ({
        name: one.text,
        p: Math.exp(one.log_prob_nats),
        note: one.ended ? undefined : "not ended",
      }));
      const label = "The best targets; press one to see its tokens";
      list.replaceChildren(
        bars(rows, { label, scale: "largest", pick: (row) => look.now(row.name) }),
      );
      if (targets.length) await looking(targets[0].text, signal);
    });
    const looking = async (target, signal) => {
      const body = { ...source(), targets: target, per_token: true };
      const answer = await view.ask("score", body, signal);
      view.well();
      tokens.replaceChildren(alignment(answer.results[0]));
    };
    const look = { now: (target) => looking(target).catch((error) => view.fail(error)) };

    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        form.node("source"),
        ...(form.fields.features ? [form.node("features")] : []),
        el("div", { class: "numbers" }, form.node("n_best"), form.node("beam")),
      ),
      el("div", { class: "results" }, list, tokens),
    );
    writing.now();
  },
};

/** Each token of a target with its probability, and where in the source the decoder looked. */
function alignment(found) {
  const hasAttention = found.per_token.some((token) => token.attention.length);
  const sources = hasAttention ? found.source_tokens : [];
  const meanwhile = hasAttention ? ", and how much the model looked at each of the source" : "";
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "token"),
    el("th", { scope: "col" }, "P"),
    el("th", { scope: "col" }, "bits"),
    sources.map((token) => el("th", { scope: "col" }, el("bdi", {}, visible(token)))),
  );
  const rows = found.per_token.map((token) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("bdi", {}, visible(token.token))),
      el("td", {}, percent(2 ** -token.surprisal_bits)),
      el("td", {}, fixed(token.surprisal_bits, 2)),
      sources.map((_, at) => looked(token.attention[at] ?? 0)),
    ),
  );
  return el(
    "div",
    { class: "wide" },
    el("p", { class: "about", id: "alignment" }, `Each token of the target${meanwhile}.`),
    el(
      "table",
      { class: "alignment", "aria-labelledby": "alignment" },
      el("thead", {}, head),
      el("tbody", {}, rows),
    ),
  );
}

function looked(share) {
  const cell = el(
    "td",
    { class: "looked" },
    bar(1),
    el("span", { class: "unseen" }, percent(share)),
  );
  cell.firstChild.style.opacity = share.toFixed(3);
  cell.title = percent(share);
  return cell;
}
