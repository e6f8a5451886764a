"""What counting gives: alone, and mixed with a network.

python -m bench counts DIR reads DIR/tinyshakespeare/input.txt and DIR/wikitext2: how long n-grams
take to count and to score, how large they are, and their perplexities.
python -m bench mixing RUN [RUN ...] takes runs trained with --ngram and --cache apart: the
network alone, with each and with both. Shares and strengths are fitted to one half of the text
held out and judged on the other, and the other way round.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench import machine
from charlm.checkpoints.run import Run
from charlm.counts import interpolation, ngram
from charlm.counts.interpolation import Partner
from charlm.models.load import load
from charlm.tokenizers import train_tokenizer
from charlm.training.request import Request
from charlm.training.texts.material import text_material
from charlm.training.texts.sequences import read_texts


def counts(arguments: Sequence[str]) -> None:
    """Print times, sizes and losses of n-gram models alone."""
    if len(arguments) != 1:
        raise SystemExit("python -m bench counts DIR: where are the corpora?")
    data, rows = Path(arguments[0]), []
    whole = (data / "tinyshakespeare" / "input.txt").read_text()
    cut = int(0.9 * len(whole))
    wiki = [(data / "wikitext2" / f"{part}.txt").read_text() for part in ("train", "valid")]
    for name, level, orders, (train, held) in (
        ("Tiny Shakespeare", "char", (6, 7), (whole[:cut], whole[cut:])),
        ("WikiText-2", "word", (3, 5), wiki),
    ):
        tokenizer = train_tokenizer(
            [train], level=level, min_count=1, pretokenized=level == "word", vocab_size=None
        )
        eos = np.int32(tokenizer.eos_id)
        ids = [np.append(tokenizer.encode(text), eos) for text in (train, held)]
        for order in orders:
            begun = time.perf_counter()
            model = ngram.train(ids[:1], tokenizer.vocab_size, order)
            counted = time.perf_counter()
            loss = -model.token_log_probs(ids[1:]).mean()
            scored = time.perf_counter()
            size = sum(array.nbytes for array in ngram.to_arrays(model).values())
            rows.append(
                (
                    name,
                    order,
                    f"{(counted - begun) / len(ids[0]) * 1e6:.2f} s",
                    f"{(scored - counted) / len(ids[1]) * 1e6:.2f} s",
                    f"{size / 1e6:.1f} MB",
                    f"{loss:.4f}",
                    f"{np.exp(loss):.2f}",
                )
            )
    head = ("text", "order", "counting 1 M", "scoring 1 M", "on disk", "nats/token", "perplexity")
    machine.table(head, rows)


def mixing(arguments: Sequence[str]) -> None:
    """Print the held-out loss of a network with and without what counts."""
    rows: list[tuple[object, ...]] = []
    for name in arguments:
        rows += _of_run(name)
    machine.table(("run", "mixed with", "nats/token", "perplexity", "less by"), rows)


def _of_run(name: str) -> list[tuple[object, ...]]:
    lm = load(name)
    if lm.partner is None:
        raise SystemExit(f"{name} was trained without --ngram and --cache.")
    began = Run(lm.checkpoint.path.parent).asked()
    texts = read_texts(Request.from_json(began["request"]), lambda _: None)
    held = text_material(texts, lm.tokenizer, None).valid
    if held is None:
        raise SystemExit(f"nothing was held out from {name}.")
    ids = held.sequences()
    network, _ = load(name, alone=True).engines.for_tokens(held.num_tokens).token_log_probs(ids)
    alone = -network.mean()
    rows: list[tuple[object, ...]] = [(name, "nothing", f"{alone:.4f}", f"{np.exp(alone):.2f}", "")]
    counted, cache = lm.partner.ngram, lm.partner.cache
    for what, one in (
        ("n-grams", Partner.new(counted, None)),
        ("a cache", Partner.new(None, cache)),
        ("both", Partner.new(counted, cache)),
    ):
        if not one.parameters.size or (what == "both" and (counted is None or cache is None)):
            continue
        evidence = one.evidence(ids)
        halves = np.array_split(np.arange(held.num_tokens), 2)
        found = []
        for fitted, judged in (halves, halves[::-1]):
            best = interpolation.fit(one, network[fitted], evidence.take(fitted))
            found.append(best.combine(network[judged], evidence.take(judged)))
        loss = -np.concatenate(found).mean()
        less = 1 - np.exp(loss - alone)
        rows.append((name, what, f"{loss:.4f}", f"{np.exp(loss):.2f}", f"{less:.1%}"))
    return rows
