"""Language models in memory: random ones, and ones whose weights were set by hand for a language.

The planted models are plain RNNs with ReLU, whose units can hold and count exactly.
"""

from pathlib import Path

import numpy as np

from charlm.checkpoints.language_model import Checkpoint
from charlm.counts import ngram
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.equations.parameters import layer_names
from charlm.inference.score import ended
from charlm.models.language_model import LanguageModel
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM, from_arrays
from charlm.nn.network import to_arrays
from charlm.tokenizers.base import Tokenizer
from tests.support.tiny import TEXTS, model_of, tokenizer_of


def lm_of(
    model: RecurrentLM, tokenizer: Tokenizer, *, partner: Partner | None = None
) -> LanguageModel:
    """A network and its tokenizer as a language model."""
    return LanguageModel(
        Checkpoint(
            path=Path("checkpoints/planted/step-00000001"),
            step=1,
            run_id=None,
            config=model.config,
            weights=to_arrays(model),
            tokenizer=tokenizer,
            speller=None,
            partner=partner,
            labels=None,
            split_on="line",
            known=None,
            info={},
        )
    )


def random_lm(
    level: str = "char", *, partner: Partner | None = None, **shape: object
) -> LanguageModel:
    """A model of random weights."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size, **{"std": 0.4, **shape})  # type: ignore[arg-type]
    return lm_of(model, tokenizer, partner=partner)


def partnered(level: str) -> LanguageModel:
    """A model of random weights with n-grams and a cache beside it."""
    tokenizer = tokenizer_of(level)
    counts = ngram.train(ended(tokenizer, TEXTS), tokenizer.vocab_size, 3)
    cache = Cache(tokenizer.vocab_size, (0, 1, 2), 50)
    return random_lm(level, partner=Partner.new(counts, cache))


def blank(texts: list[str], units: int) -> tuple[Tokenizer, dict[str, np.ndarray], CausalConfig]:
    """A tokenizer of characters, and a network of zeros that reads each type as a unit vector."""
    tokenizer = tokenizer_of("char", texts)
    size = tokenizer.vocab_size
    config = CausalConfig(
        vocab_size=size, cell="rnn-relu", hidden_size=units, embedding_size=size, num_layers=1
    )
    arrays = {name: np.zeros_like(a) for name, a in to_arrays(RecurrentLM(config)).items()}
    arrays["embedding.weight"][:size] = np.eye(size)
    return tokenizer, arrays, config


def planted_copy(distance: int, length: int = 40) -> tuple[LanguageModel, list[str]]:
    """A language in which each letter is the one so far before it, and a network that knows it.

    The first letters of a text are drawn, and there the network is at a loss. It is a chain of
    registers: what is read goes into the first, and on by one at each step.
    """
    rng = np.random.default_rng(0)
    letters = "abcdefgh"
    texts = []
    for _ in range(6):
        drawn = "".join(rng.choice(list(letters), size=distance))
        texts.append((drawn * length)[:length])
    size = tokenizer_of("char", [letters]).vocab_size
    tokenizer, arrays, config = blank([letters], units=size * distance)
    weight_ih, weight_hh, *_ = layer_names("rnn-relu", 0)
    arrays[weight_ih][:size] = np.eye(size)
    for at in range(size, size * distance):
        arrays[weight_hh][at, at - size] = 1
    arrays["softmax.weight"][:, -size:] = 4 * np.eye(size)
    return lm_of(from_arrays(config, arrays), tokenizer), texts


def planted_depth(seed: int) -> tuple[LanguageModel, list[str], int]:
    """Texts with brackets in brackets, a network that counts the open ones, and in which unit.

    The other units are random, of what is read and of one another.
    """
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(8):
        text, depth = "", 0
        for _ in range(60):
            char = str(rng.choice(list("ab()")))
            if (char == ")" and not depth) or (char == "(" and depth == 4):
                char = "a"
            depth += (char == "(") - (char == ")")
            text += char
        texts.append(text)
    units, index = 12, int(rng.integers(12))
    tokenizer, arrays, config = blank(["ab()"], units=units)
    weight_ih, weight_hh, *_ = layer_names("rnn-relu", 0)
    arrays[weight_ih][:] = rng.normal(size=arrays[weight_ih].shape)
    arrays[weight_hh][:] = rng.normal(size=(units, units), scale=0.2)
    arrays[weight_ih][index] = arrays[weight_hh][index] = 0
    opening, closing = tokenizer.encode("()")
    arrays[weight_ih][index, [opening, closing]] = 1, -1
    arrays[weight_hh][index, index] = 1
    return lm_of(from_arrays(config, arrays), tokenizer), texts, index
