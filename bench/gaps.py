"""What reading both sides gives: held-out figures of models, and gaps that they fill.

python -m bench gaps TEXT MODEL [MODEL ...]: of each model of the text (a file that --split-on file
held the last tenth of out), loss and share of tokens whose likeliest type is the right one, given
what the model reads: both sides, or the left one alone. Then, at 200 places, gaps of several
tokens filled with the likeliest filling; a model from left to right goes on greedily, and never
sees what comes after. "One by one" is a bidirectional model that is not told how many are missing.
"""

import time

import numpy as np

from charlm.config import VALID_SHARE
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.equations.language_model import Array
from charlm.inference.fill import fill
from charlm.inference.score import ended
from charlm.models.cloze_model import ClozeModel
from charlm.models.language_model import LanguageModel
from charlm.models.load import load
from charlm.text import corpus

_PLACES = 200
_CONTEXT = 200  # characters on each side
_LENGTHS = (1, 3, 5)


class _Untold(NumpyCloze):
    """A cloze engine that takes what comes after a gap for what comes next."""

    def predict(self, state: object, after: Array, missing: int = 0) -> np.ndarray:
        """log P (B, V), as if no more tokens were missing."""
        del missing
        return super().predict(state, after)  # type: ignore[arg-type]


def main(arguments: list[str]) -> None:
    """Print the figures of each model."""
    path, *names = arguments
    (document,) = corpus.read_documents([path])
    (text,) = corpus.split_sequences(document.text, "file")
    (valid,) = corpus.hold_out([text], split_on="file", share=VALID_SHARE, seed=0).valid
    for name in names:
        _figures(name, load(name), valid)


def _figures(name: str, lm: LanguageModel | ClozeModel, valid: str) -> None:
    both = isinstance(lm, ClozeModel)
    ids = ended(lm.tokenizer, [valid])
    scorer = lm.engines.of("torch")
    begun = time.perf_counter()
    log_probs, details = scorer.token_log_probs(ids, details=True)
    seconds = time.perf_counter() - begun
    assert details is not None
    loss = -float(log_probs.mean())
    print(
        f"{name}: {lm.config.hidden_size} units, {lm.num_parameters:,} parameters; "
        f"{loss:.4f} nats per token, {'pseudo-' if both else ''}perplexity {np.exp(loss):.3f}, "
        f"top-1 {(details.ranks == 1).mean():.4f}; {len(log_probs) / seconds:,.0f} tokens a second",
        flush=True,
    )
    if lm.tokenizer.level != "char":
        return
    rng = np.random.default_rng(0)
    places = rng.integers(_CONTEXT, len(valid) - _CONTEXT - max(_LENGTHS), _PLACES).tolist()
    ways = ("told", "one by one") if both else ("left side alone",)
    for length in _LENGTHS:
        for way in ways[: 1 if length == 1 else None]:
            filled = [_filled(lm, valid, place, length, way) for place in places]
            exact = np.mean([one == right for one, right in filled])
            same = np.mean([a == b for pair in filled for a, b in zip(*pair, strict=True)])
            print(
                f"  gaps of {length}, {way}: exact {exact:.3f}, characters {same:.3f}", flush=True
            )


def _filled(
    lm: LanguageModel | ClozeModel, valid: str, place: int, length: int, way: str
) -> tuple[str, str]:
    """What a model fills into a gap, and what stands there."""
    left, right = valid[place - _CONTEXT : place], valid[place + length :][:_CONTEXT]
    true = valid[place : place + length]
    if way == "left side alone":
        (drawn,) = lm.sample(1, prompt=left, temperature=0, max_tokens=length)
        return drawn.text[len(left) :].ljust(length, "\0"), true
    cloze = lm.engines.of("numpy")
    if way == "one by one":
        cloze = _Untold(lm.config, lm.checkpoint.weights)
    written = f"{left}[?{length}]{right}"
    return fill(cloze, lm.tokenizer, written, top=1, is_whole=False).entries[0].gaps[0], true
