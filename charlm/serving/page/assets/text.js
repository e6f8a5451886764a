// Texts and numbers as a person reads them.

import { el } from "./dom.js";

const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u;
const JOINERS = "\u200c\u200d";
const SPACES = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "\\r" };

/** The code points of a text: the server counts in these, JavaScript in halves of some of them. */
export const points = (text) => Array.from(text);

/** Whether a character takes no room of its own beside the one before it. */
export const isMark = (char) => JOINERS.includes(char) || /[\p{Mn}\p{Me}]/u.test(char);

const isUnsafe = (char) => UNSAFE.test(char) && !JOINERS.includes(char);

function escaped(char) {
  const code = char.codePointAt(0).toString(16);
  return code.length > 2 ? `\\u{${code}}` : `\\x${code.padStart(2, "0")}`;
}

/** A token that can be seen: white space by signs, what drives a terminal written out. */
export function visible(text) {
  if (!text) return "∅";
  const chars = points(text);
  const only = chars.every((char) => char in SPACES);
  return chars
    .map((char, at) => {
      const isOuter = at === 0 || at === chars.length - 1;
      if (char in SPACES && (only || char !== " " || isOuter)) return SPACES[char];
      return isUnsafe(char) ? escaped(char) : char;
    })
    .join("");
}

/** A running text as nodes: ends of lines and tabs stay, what cannot be seen is written out. */
export function shown(text) {
  const nodes = [];
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
  };
  for (const char of text) {
    if (char === "\n") {
      flush();
      nodes.push(el("i", { class: "newline" }, "\n"));
    } else if (char !== "\t" && isUnsafe(char)) {
      flush();
      nodes.push(el("code", {}, escaped(char)));
    } else plain += char;
  }
  flush();
  return nodes;
}

/** A probability: 12.3 %, 0.12 %, or 1 in so many. */
export function percent(p) {
  if (!(p > 0)) return "0 %";
  if (p >= 0.9995) return p === 1 ? "100 %" : "> 99.9 %";
  if (p >= 0.01) return `${(100 * p).toFixed(1)} %`;
  if (p >= 0.0001) return `${(100 * p).toFixed(2)} %`;
  return p > 1e-9 ? `1 in ${count(Math.round(1 / p))}` : `1 in ${power(-Math.log10(p))}`;
}

/** A large number, given its decimal logarithm: 3.2·10⁴⁵. */
export function power(log10) {
  if (log10 < 6)
    return count(10 ** log10 < 10 ? (10 ** log10).toFixed(1) : Math.round(10 ** log10));
  const exponent = Math.floor(log10);
  return `${(10 ** (log10 - exponent)).toFixed(1)}·10${raised(exponent)}`;
}

/** A whole number as an exponent. */
export const raised = (exponent) =>
  [...String(exponent)].map((digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])).join("");

/** A number with its thousands apart. */
export function count(value) {
  return typeof value === "string" ? value : value.toLocaleString("en");
}

/** A token as it is called among others: of words the space that parts them is left out. */
export const named = (text, level) =>
  level === "word" && text.length > 1 ? text.replace(/^ /, "") : text;

/** What may come next by its text, or by its name where that is none to be read. */
export const nameOf = (one, level) =>
  one.text && !one.text.includes("\ufffd") ? named(one.text, level) : one.token;

/** So many of something. */
export const several = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A number with some decimals, and a minus sign that is one. */
export function fixed(value, decimals = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en", digits).replace("-", "−");
}
