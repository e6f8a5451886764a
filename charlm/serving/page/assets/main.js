// The page: which model, which view of it, and what the address says of both.

import * as address from "./address.js";
import { models, setKey } from "./api.js";
import * as card from "./parts/card.js";
import { button, el } from "./dom.js";
import { count } from "./text.js";
import { View } from "./view.js";
import compare from "./views/compare.js";
import gaps from "./views/gaps.js";
import inside from "./views/inside.js";
import labels from "./views/labels.js";
import next from "./views/next.js";
import pairs from "./views/pairs.js";
import score from "./views/score.js";
import training from "./views/training.js";
import write from "./views/write.js";

const VIEWS = [write, score, next, compare, gaps, labels, pairs, inside, training];
const KINDS = {
  "language-model": "language model",
  cloze: "model of gaps",
  classifier: "classifier",
  tagger: "tagger (the page has nothing to ask it but its training: use charlm tag)",
  translator: "translator",
};

const LEVELS = { char: "characters", word: "words", subword: "subwords" };

const chooser = document.getElementById("model");
const tabs = document.getElementById("tabs");
const panels = document.getElementById("panels");
const kept = {}; // what each view was last asked, by its name
let served = [];
let opened = {}; // views of the model, by name
const now = { model: null, view: null };

/** Show a view of a model, filled with values where there are any. */
function show(model, wanted, values) {
  card.hide();
  if (model !== now.model) {
    closeAll();
    now.model = model;
    chooser.value = model.id;
    document.getElementById("about").textContent = about(model);
    drawTabs();
  }
  const suited = VIEWS.filter((view) => view.suits(model));
  const view = suited.find((one) => one.id === wanted) ?? suited[0];
  if (values && written(values) !== written(kept[view.id] ?? {})) {
    kept[view.id] = values;
    opened[view.id]?.close();
    delete opened[view.id];
  }
  now.view = view;
  opened[view.id] ??= open(view, model);
  for (const one of Object.values(opened)) one.panel.hidden = one !== opened[view.id];
  for (const tab of tabs.children) {
    const isOwn = tab.id === `tab-${view.id}`;
    tab.setAttribute("aria-selected", String(isOwn));
    tab.tabIndex = isOwn ? 0 : -1;
    if (isOwn) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  opened[view.id].well();
  document.title = `${view.title} · ${model.id} · charlm`;
}

/** What a view was asked, so that it can be compared. */
const written = (values) => JSON.stringify(Object.entries(values).sort());

/** The state of the page. */
const state = () => ({ view: now.view.id, model: now.model.id, ...kept[now.view.id] });

function open(view, model) {
  const panel = el("section", {
    id: `panel-${view.id}`,
    class: `panel ${view.id}`,
    role: "tabpanel",
    "aria-labelledby": `tab-${view.id}`,
  });
  panels.append(panel);
  const save = (values) => {
    kept[view.id] = values;
    if (now.view === view) address.note(state());
  };
  const values = kept[view.id] ?? {};
  const found = new View({ model, models: served, panel, values, save, go });
  view.open(found);
  return found;
}

function closeAll() {
  for (const one of Object.values(opened)) one.close();
  opened = {};
}

/** Go to a view, as a person who may come back. */
function go(view, values) {
  show(now.model, view, values);
  address.step(state());
}

function drawTabs() {
  const suited = VIEWS.filter((view) => view.suits(now.model));
  tabs.replaceChildren(
    ...suited.map((view) =>
      button(view.title, () => go(view.id), {
        id: `tab-${view.id}`,
        role: "tab",
        "aria-controls": `panel-${view.id}`,
      }),
    ),
  );
}

tabs.addEventListener("keydown", (event) => {
  const all = [...tabs.children];
  const at = all.indexOf(document.activeElement);
  const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 };
  if (at < 0 || !(event.key in steps)) return;
  event.preventDefault();
  const tab = all[(steps[event.key] + all.length) % all.length];
  tab.focus();
  tab.click();
});

chooser.addEventListener("change", () => {
  const model = served.find((one) => one.id === chooser.value);
  show(model, now.view.id);
  address.step(state());
});

/** A model in a few words. */
function about(model) {
  const layers = model.num_layers === 1 ? "1 layer" : `${model.num_layers} layers`;
  const cells =
    model.cell === undefined
      ? `${count(model.num_ngrams)} n-grams of up to ${model.order} tokens`
      : `${layers} of ${count(model.hidden_size)} ${model.cell.toUpperCase()} units`;
  const types = model.level ? `, ${count(model.vocab_size)} different ${LEVELS[model.level]}` : "";
  return `${KINDS[model.kind]}, ${cells}${types}, step ${count(model.step)}`;
}

/** Show what an address says. */
function follow({ view, model, ...values }) {
  const found = served.find((one) => one.id === model) ?? now.model ?? served[0];
  show(found, view ?? now.view?.id, values);
  if (model && found.id !== model) {
    tell(`The address asks for the model ${model}, which is not served here: this is ${found.id}.`);
  }
}

function tell(message) {
  const trouble = document.getElementById("trouble");
  trouble.textContent = message;
  trouble.hidden = false;
}

function askForKey(error) {
  const input = el("input", { type: "password", id: "key", autocomplete: "current-password" });
  const form = el(
    "form",
    {
      class: "key",
      onsubmit: (event) => {
        event.preventDefault();
        setKey(input.value.trim());
        form.remove();
        begin();
      },
    },
    el("p", {}, error.message),
    el("label", { for: "key" }, "Key of this server"),
    input,
    el("button", { type: "submit", class: "main" }, "Go on"),
  );
  panels.append(form);
  input.focus();
}

async function begin() {
  const loading = document.getElementById("loading");
  loading.hidden = false;
  try {
    served = await models();
  } catch (error) {
    loading.hidden = true;
    if (error.status === 401) askForKey(error);
    else tell(error.message);
    return;
  }
  loading.hidden = true;
  chooser.replaceChildren(...served.map((one) => el("option", { value: one.id }, one.id)));
  chooser.disabled = false;
  follow(address.read());
  address.note(state());
  address.follow(follow);
}

begin();
