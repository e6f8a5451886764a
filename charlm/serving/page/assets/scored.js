// A text's figures as /v1/score tells them, by names that are the same for models of both kinds.

import { el } from "./dom.js";
import { fixed, named, points, raised, several } from "./text.js";

const PSEUDO = {
  total_log_prob_nats: "pseudo_log_likelihood_nats",
  surprisal_bits: "surprisal_given_others_bits",
  entropy_bits: "entropy_given_others_bits",
  perplexity_per_token: "pseudo_perplexity_per_token",
  bits_per_character: "pseudo_bits_per_character",
};

/** The result of one text: its figures, and its tokens as a heat map shows them. */
export function scored(result) {
  const isPseudo = PSEUDO.total_log_prob_nats in result;
  const of = (row, name) => row[isPseudo ? PSEUDO[name] : name];
  const chars = points(result.text);
  return {
    text: result.text,
    isPseudo,
    nats: of(result, "total_log_prob_nats"),
    perplexity: of(result, "perplexity_per_token"),
    bitsPerCharacter: of(result, "bits_per_character"),
    number: result.tokens,
    unknown: result.oov_tokens,
    tokens: (result.per_token ?? []).map((row) => ({
      start: row.start,
      end: row.end,
      name: chars.slice(row.start, row.end).join("") || row.token,
      piece: row.token,
      bits: of(row, "surprisal_bits"),
      rank: row.rank,
      entropy: of(row, "entropy_bits"),
      isPseudo,
    })),
  };
}

/** The figures of a text in one line. */
export function figures(one) {
  const kind = one.isPseudo ? "pseudo-" : "";
  const parts = [
    [`ln ${one.isPseudo ? "pseudo-" : ""}P`, fixed(one.nats, 3)],
    ["P", one.isPseudo ? null : probability(one.nats)],
    [`${kind}perplexity per token`, one.perplexity === null ? "–" : fixed(one.perplexity, 2)],
    [`${kind}bits per character`, fixed(one.bitsPerCharacter, 3)],
    ["", several(one.number, "token")],
    ["", one.unknown ? `${one.unknown} unknown` : null],
  ];
  const items = parts
    .filter(([, value]) => value !== null)
    .map(([name, value]) => el("li", {}, name && `${name} = `, el("b", {}, value)));
  return el("ul", { class: "figures" }, items);
}

/** exp of a log-probability: 0.012, or 1.2·10⁻¹⁸. */
export function probability(nats) {
  if (nats > Math.log(0.001)) return Math.exp(nats).toPrecision(3);
  const exponent = Math.floor(nats / Math.LN10);
  const mantissa = Math.exp(nats - exponent * Math.LN10).toFixed(2);
  return `${mantissa}·10${raised(exponent)}`;
}

/** Alternatives at each token, as an echoed completion tells them, given to tokens in order. */
export function withAlternatives(tokens, logprobs, level) {
  logprobs.top_logprobs.forEach((top, at) => {
    if (tokens[at]) tokens[at].top = alternatives(top, logprobs.tokens[at], level);
  });
}

/** What was likeliest at a place, and the token that stands there. */
export function alternatives(top, own, level) {
  return Object.entries(top)
    .map(([name, logprob]) => ({
      name: named(name, level),
      p: Math.exp(logprob),
      isOwn: name === own,
    }))
    .sort((a, b) => b.p - a.p);
}
