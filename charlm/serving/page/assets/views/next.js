// What comes next: the likeliest tokens as bars, and where each would lead as a tree.

import { bars } from "../parts/bars.js";
import { button, el } from "../dom.js";
import { area, Form, labelField } from "../parts/form.js";
import { count, fixed, nameOf } from "../text.js";
import { isEnd, Tree } from "../parts/tree.js";

const MOST = 15;

export default {
  id: "next",
  title: "What comes next",
  suits: (model) => model.kind === "language-model",
  open(view) {
    const form = new Form(
      [area("prefix", "Text so far", { rows: 3 }), ...labelField(view.model)],
      () => {
        opened.clear();
        save();
        asking.soon();
      },
    );
    const opened = new Set(view.values.open?.split(",") ?? []); // branches of the tree
    const save = () =>
      view.save({ ...form.values(), ...(opened.size ? { open: [...opened].join(",") } : {}) });
    form.fill(view.values);
    const list = el("div");
    const about = el("p", { class: "about" });
    const roots = el("div");
    const after = (path, signal) => {
      const label = form.get("label") ? { label: form.get("label") } : {};
      const body = { prefix: form.get("prefix") + path, top: MOST, ...label };
      return view.ask("next", body, signal);
    };
    const put = (text) => {
      form.set("prefix", form.get("prefix") + text);
      opened.clear();
      save();
      asking.now();
      form.fields.prefix.input.focus();
    };

    const asking = view.latest(async (signal) => {
      const found = await after("", signal);
      view.well();
      const rows = found.results.map((one) => ({
        name: nameOf(one, view.model.level),
        text: one.text,
        p: one.probability,
        isEnd: isEnd(one),
      }));
      const rest = Math.max(0, 1 - rows.reduce((all, row) => all + row.p, 0));
      const others = found.types - rows.length;
      if (others > 0) {
        const name = `the other ${count(others)}`;
        rows.push({ nodes: name, p: rest, isEnd: true, isRest: true, class: "rest" });
      }
      const label = "The likeliest next tokens; press one to add it to the text";
      list.replaceChildren(bars(rows, { label, scale: "largest", pick: (row) => put(row.text) }));
      about.textContent =
        `Entropy ${fixed(found.entropy_bits)} bits: as uncertain as among ` +
        `${fixed(found.perplexity, 1)} equally likely tokens, of ${count(found.types)} there are.`;
      const tree = new Tree({
        first: found,
        level: view.model.level,
        opened,
        after,
        changed: save,
        fail: (error) => view.fail(error),
        put,
      });
      roots.replaceChildren(tree.node);
    });

    view.panel.append(
      el(
        "form",
        { class: "controls", onsubmit: (event) => event.preventDefault() },
        Object.keys(form.fields).map((name) => form.node(name)),
        el(
          "p",
          { class: "go" },
          button("Empty the text", () => {
            form.set("prefix", "");
            put("");
          }),
        ),
      ),
      el(
        "div",
        { class: "halves" },
        el(
          "section",
          { "aria-label": "The likeliest next tokens" },
          el("h2", {}, "The likeliest"),
          list,
          about,
        ),
        el(
          "section",
          { "aria-label": "Where they lead" },
          el("h2", {}, "Where they lead"),
          el(
            "p",
            { class: "about" },
            "Open a token to see what comes after it. The figure on the right is the probability ",
            "of the whole path.",
          ),
          roots,
        ),
      ),
    );
    asking.now();
  },
};
