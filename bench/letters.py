"""What a model of words adds to one of characters, mixed one character at a time.

python -m bench letters CHARACTERS WORDS TEXT [WEIGHT ...] prints a table: the runs are named or
paths, the former trained with --adaptive; TEXT is cut into paragraphs; the weights are those of the
words.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import charlm
from bench import machine
from charlm.models.base import TextDistribution
from charlm.models.language_model import LanguageModel
from charlm.models.mixtures import TokenMixture
from charlm.text.corpus import split_sequences

_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 1.0)


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    if len(arguments) < 3:
        raise SystemExit("python -m bench letters CHARACTERS WORDS TEXT [WEIGHT ...]")
    characters, words, path = arguments[:3]
    weights = tuple(map(float, arguments[3:])) or _WEIGHTS
    texts = list(split_sequences(Path(path).read_text("utf-8"), "paragraph"))
    alone, lm, other = (
        charlm.load(characters, alone=True),
        charlm.load(characters),
        charlm.load(words),
    )
    assert isinstance(alone, LanguageModel)
    assert isinstance(lm, LanguageModel)
    assert isinstance(other, LanguageModel)
    rows = []
    for name, model in (("network", alone), ("with its partner", lm)):
        found = [
            _nats(charlm.mix([model, other], (1 - w, w), by_character=True), texts) for w in weights
        ]
        rows.append((name, *found))
    for adapt in ("frozen", "sequence", "file"):
        found = []
        for w in weights:
            mixed = charlm.mix([lm, other], (1 - w, w), by_character=True)
            assert isinstance(mixed, TokenMixture)
            found.append(_nats(mixed.adapting(adapt), texts))
        rows.append((f"--adapt {adapt}", *found))
    by_text = [_nats(charlm.mix([lm, other], (1 - w, w)), texts) for w in weights]
    rows.append(("with its partner, text by text", *by_text))
    begun = time.perf_counter()
    charlm.mix([alone, other], by_character=True).score_all(texts)
    number = sum(len(text) + 1 for text in texts)
    print(f"{number:,} characters, {number / (time.perf_counter() - begun):,.0f} a second")
    machine.table(("the characters", *(f"words {w:g}" for w in weights)), rows)


def _nats(model: TextDistribution, texts: Sequence[str]) -> str:
    """Nats per character, the end among them."""
    scores = model.score_all(texts)
    total = sum(score.total_log_prob for score in scores)
    return f"{-total / sum(score.num_tokens for score in scores):.4f}"
