// A text of tokens cut into places that each have one shade.

import { isMark } from "../text.js";

/**
 * The places of a text (its code points) in order: {from, start, end, tokens, shade, lead, runs, key}.
 * Tokens that share a character stand together, as does a character with its marks; a space that a
 * longer token begins with stands before it, between ``from`` and ``start``. lead and runs are the
 * text of both, cut where copies begin and end. Places of equal keys look the same. ``begin`` is an
 * earlier place from which on they are wanted.
 */
export function places(chars, tokens, copies, shade, begin = { first: 0, from: 0 }) {
  const marks = copies.length ? new Uint8Array(chars.length) : null;
  for (const { start, end } of copies) marks.fill(1, start, end);
  return cut(chars, tokens, begin).map((place) => {
    const lead = marked(chars, place.from, place.start, marks);
    const runs = marked(chars, place.start, place.end, marks);
    const shown = place.tokens.length ? shade(sum(place.tokens)) : "";
    const key = JSON.stringify([
      lead,
      runs,
      shown,
      place.isEnd,
      place.isEnd && place.tokens[0].name,
    ]);
    return { ...place, lead, runs, shade: shown, key };
  });
}

function cut(chars, tokens, { first, from }) {
  const found = [];
  const length = chars.length;
  let at = from;
  let waiting = []; // tokens that are the first bytes of a character
  let index = first;
  for (; index < tokens.length; index += 1) {
    const token = tokens[index];
    if (token.start >= length) break; // <EOS>
    if (token.start === token.end) {
      waiting.push(token);
      continue;
    }
    const last = found.at(-1);
    const standsUpon = token.start === at && isMark(chars[at]) && chars[at - 1] !== "\n";
    if (last && (token.start < at || standsUpon)) {
      last.tokens.push(...waiting, token);
      last.end = at = Math.max(at, token.end);
    } else {
      const isLed = chars[token.start] === " " && token.end - token.start > 1;
      const start = token.start + (isLed ? 1 : 0);
      const own = [...waiting, token];
      found.push({ first: index - waiting.length, from: at, start, end: token.end, tokens: own });
      at = token.end;
    }
    waiting = [];
  }
  if (at < length) found.push({ first: index, from: at, start: length, end: length, tokens: [] });
  for (; index < tokens.length; index += 1) {
    const own = [tokens[index]];
    found.push({
      first: index,
      from: length,
      start: length,
      end: length,
      tokens: own,
      isEnd: true,
    });
  }
  return found;
}

const sum = (tokens) =>
  tokens.length === 1
    ? tokens[0]
    : { bits: tokens.reduce((all, one) => all + one.bits, 0), rank: tokens[0].rank };

/** A range cut where copies begin and end. */
function marked(chars, start, end, marks) {
  if (!marks) return start < end ? [{ mark: false, text: chars.slice(start, end).join("") }] : [];
  const runs = [];
  for (let at = start; at < end; at += 1) {
    const mark = Boolean(marks[at]);
    if (runs.at(-1)?.mark === mark) runs.at(-1).text += chars[at];
    else runs.push({ mark, text: chars[at] });
  }
  return runs;
}
