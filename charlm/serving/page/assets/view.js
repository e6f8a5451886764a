// What every view is given, and what several of them do alike.

import * as api from "./api.js";
import { say } from "./dom.js";

const PAUSE = 300; // milliseconds without typing

/** One view of one model, from when it is opened until the model changes. */
export class View {
  #closing = new AbortController();
  #trouble = document.getElementById("trouble");

  constructor({ model, models, panel, values, save, go }) {
    Object.assign(this, { model, models, panel, values, save, go });
  }

  /** What an endpoint answers about this model. */
  ask(name, body, signal = this.#closing.signal) {
    return api.ask(name, { model: this.model.id, ...body }, signal);
  }

  /** The events of a completion of this model. */
  stream(body, signal) {
    return api.stream({ model: this.model.id, ...body }, signal);
  }

  /** Tell what went wrong, unless nobody waits for it any more. */
  fail(error) {
    if (error.name === "AbortError") return;
    this.#trouble.textContent = error.message;
    this.#trouble.hidden = false;
  }

  /** Something went well: what was wrong is over. */
  well(told) {
    this.#trouble.hidden = true;
    this.#trouble.textContent = "";
    if (told) say(told);
  }

  /** Do work only where nobody has asked for other work since; what it raises is told. */
  latest(work) {
    let running = null;
    let timer = null;
    this.atEnd(() => {
      clearTimeout(timer);
      running?.abort();
    });
    const begin = async () => {
      running?.abort();
      const own = new AbortController();
      running = own;
      try {
        await work(own.signal);
      } catch (error) {
        if (!own.signal.aborted) this.fail(error);
      }
    };
    return {
      now: () => {
        clearTimeout(timer);
        return begin();
      },
      soon: () => {
        clearTimeout(timer);
        timer = setTimeout(begin, PAUSE);
      },
    };
  }

  /** Call this when the view is gone. */
  atEnd(work) {
    this.#closing.signal.addEventListener("abort", work);
  }

  /** The view is gone: nothing that it asked for matters. */
  close() {
    this.#closing.abort();
    this.panel.remove();
  }
}
