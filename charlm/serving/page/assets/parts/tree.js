// Paths of tokens as a tree that opens where it is pressed (the ARIA tree pattern).

import { bar } from "./bars.js";
import { button, el } from "../dom.js";
import { nameOf, percent, visible } from "../text.js";

const BRANCHES = 5;

/** Whether nothing can come after a token: it ends the text, or adds none that could be read. */
export const isEnd = (one) => one.text === "" || one.text.includes("\ufffd");

/**
 * A tree whose first branches are what /v1/next answered. ``after`` asks what comes after a path,
 * ``put`` takes a path into the text. ``opened`` are the numbers of the branches that are open,
 * such as 0.2 for the third of the first; ``changed`` is called when there are others.
 */
export class Tree {
  #after;
  #fail;
  #level;
  #opened;
  #changed;
  #chosen = el("p", { class: "path", "aria-live": "polite" });

  constructor({ first, level, opened, after, changed, fail, put }) {
    this.#after = after;
    this.#fail = fail;
    this.#level = level;
    this.#opened = opened;
    this.#changed = changed;
    this.put = put;
    this.root = el("ul", {
      role: "tree",
      class: "tree",
      "aria-label": "Paths of tokens",
      onclick: (event) => this.#click(event.target.closest("[role=treeitem]")),
      onkeydown: (event) => this.#key(event),
    });
    this.#grow(this.root, first, { path: "", p: 1, key: "" });
    const item = this.root.firstElementChild;
    if (item) item.tabIndex = 0;
    this.node = el("div", {}, this.root, this.#chosen);
  }

  #grow(list, found, { path, p, key: parent }) {
    found.results.slice(0, BRANCHES).forEach((one, at) => {
      const leaf = isEnd(one);
      const item = el("li", { role: "treeitem", "aria-expanded": leaf ? null : "false" });
      item.tabIndex = -1;
      const key = parent ? `${parent}.${at}` : String(at);
      const name = nameOf(one, this.#level);
      item.branch = { path: path + one.text, p: p * one.probability, leaf, name, key };
      const whole = percent(item.branch.p);
      item.append(
        el(
          "div",
          { class: "row" },
          el("span", { class: "twist", "aria-hidden": "true" }),
          el("span", { class: "name" }, el("bdi", {}, visible(name))),
          el("span", { class: "rail" }, bar(one.probability)),
          el("span", { class: "value" }, percent(one.probability)),
          el("span", { class: "whole" }, whole),
        ),
      );
      item.setAttribute(
        "aria-label",
        `${visible(name)}, ${percent(one.probability)}, path ${whole}`,
      );
      list.append(item);
      if (this.#opened.has(key)) this.#open(item);
    });
  }

  #click(item) {
    if (!item) return;
    this.#focus(item);
    if (item.getAttribute("aria-expanded") === "true") this.#close(item);
    else this.#open(item);
  }

  async #open(item) {
    if (item.branch.leaf) return;
    this.#note(() => this.#opened.add(item.branch.key));
    item.setAttribute("aria-expanded", "true");
    if (item.querySelector("ul")) return;
    const list = el("ul", { role: "group" });
    item.append(list);
    item.setAttribute("aria-busy", "true");
    try {
      this.#grow(list, await this.#after(item.branch.path), item.branch);
    } catch (error) {
      list.remove();
      this.#close(item);
      this.#fail(error);
    }
    item.removeAttribute("aria-busy");
  }

  #note(change) {
    const before = this.#opened.size;
    change();
    if (this.#opened.size !== before) this.#changed();
  }

  #close(item) {
    this.#note(() => this.#opened.delete(item.branch.key));
    item.setAttribute("aria-expanded", "false");
  }

  #focus(item) {
    for (const one of this.root.querySelectorAll("[tabindex='0']")) one.tabIndex = -1;
    for (const one of this.root.querySelectorAll("[aria-selected]")) {
      one.removeAttribute("aria-selected");
    }
    item.tabIndex = 0;
    item.setAttribute("aria-selected", "true");
    item.focus();
    const { path, p, leaf, name } = item.branch;
    this.#chosen.replaceChildren(
      el("span", {}, `${percent(p)}: `, el("b", {}, el("bdi", {}, visible(path || name)))),
      ...(leaf ? [] : [button("Take it into the text", () => this.put(path))]),
    );
  }

  #key(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    const seen = [...this.root.querySelectorAll("[role=treeitem]")].filter(
      (one) => !one.parentElement.closest("[aria-expanded=false]"),
    );
    const at = seen.indexOf(item);
    const isOpen = item.getAttribute("aria-expanded") === "true";
    const parent = item.parentElement.closest("[role=treeitem]");
    const moves = {
      ArrowDown: () => seen[at + 1],
      ArrowUp: () => seen[at - 1],
      Home: () => seen[0],
      End: () => seen.at(-1),
      ArrowRight: () => (isOpen ? item.querySelector("[role=treeitem]") : void this.#open(item)),
      ArrowLeft: () => (isOpen ? void this.#close(item) : parent),
      Enter: () => void this.#click(item),
      " ": () => void this.#click(item),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = moves[event.key]();
    if (next) this.#focus(next);
  }
}
