"""How a speller is made: a small character model, trained on the rare words of a text.

What a word that was never seen looks like is best told by the words that were seen once: so each
type counts the less the more often it occurs (Good & Turing's thought; Kneser & Ney's, who count
types and not tokens).
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charlm.config import TrainingConfig
from charlm.engines.torch_passes import token_log_probs
from charlm.inference.unknown import Speller, UnknownCharacters
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.text.tokens import from_ids, tokenize
from charlm.tokenizers.base import NUM_SPECIALS, Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import WordTokenizer
from charlm.training.counted.alone import tokenizer_of, word_types
from charlm.training.loop import train_steps
from charlm.training.request import Request, Say
from charlm.training.texts.rare_words import log_sum, rare_words
from charlm.training.window_steps import OnlyText, WindowSteps

if TYPE_CHECKING:
    from charlm.training.texts.sequences import Texts

_CHARACTERS = 600_000  # to be read in all: a few seconds
_MOST_EPOCHS = 20.0
_FEWEST_EPOCHS = 3.0


def train_speller(counts: Mapping[str, int], tokenizer: WordTokenizer, seed: int) -> Speller:
    """The speller of a word model, from how often each type occurs in its training text.

    A function of its arguments; takes some seconds.
    """
    return trained_on(rare_words(lambda: sorted(counts.items()), seed), tokenizer, seed)


def trained_on(words: Sequence[str], tokenizer: WordTokenizer, seed: int) -> Speller:
    """The speller of a word model that learns from these words, of one at least."""
    characters = CharacterTokenizer.train(words)
    text = tokenize(characters, words)
    shape = CausalConfig(
        vocab_size=characters.vocab_size, hidden_size=128, embedding_size=32, dropout=0.2
    )
    config = TrainingConfig(
        num_steps=1, batch_size=16, weight_decay=0.05, end_learning_rate=8e-5, seed=seed
    )
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, _CHARACTERS / text.num_tokens))
    windows = WindowSteps()
    steps = max(1, round(epochs * windows.steps_per_epoch(shape, config, OnlyText(text))))
    config = TrainingConfig.from_json(
        {**config.to_json(), "num_steps": steps, "warmup_steps": min(50, max(1, steps // 10))}
    )
    state = windows.new_state(shape, config)
    for _ in train_steps(windows, state, config, OnlyText(text)):
        pass
    model = state.module.eval()
    assert isinstance(model, RecurrentLM)
    log_known = log_sum(_spelled(model, characters, tokenizer))
    weights = {name: array.copy() for name, array in to_arrays(model).items()}
    return Speller(config=shape, weights=weights, tokenizer=characters, log_known=log_known)


def _spelled(
    model: RecurrentLM, characters: CharacterTokenizer, tokenizer: WordTokenizer
) -> NDArray[np.float64]:
    """log P (V - 2,) that the speller gives to the types of the vocabulary."""
    eos = np.array([characters.eos_id], dtype=np.int32)
    ids = [np.concatenate((characters.encode(kind), eos)) for kind in tokenizer.types]
    assert len(ids) == tokenizer.vocab_size - NUM_SPECIALS
    log_probs, _ = token_log_probs(model, from_ids(ids, characters.vocab_size))
    # A word of the vocabulary can hold a character that the speller does not know.
    log_probs[np.concatenate(ids) == characters.unk_id] += UnknownCharacters(characters).log_share
    starts = np.cumsum([0, *map(len, ids[:-1])])
    return np.add.reduceat(log_probs, starts)


@contextlib.contextmanager
def said_of_speller(say: Say) -> Iterator[None]:
    """Say what has been trained, and how long it took."""
    begun = time.perf_counter()
    yield
    say(
        "speller: a character model, trained on rare words, spells unknown words "
        f"({time.perf_counter() - begun:.0f} s)"
    )


def learned(request: Request, texts: "Texts", say: Say) -> tuple[Tokenizer, Speller | None]:
    """The tokenizer of texts in memory and, of words, its speller; learned now."""
    tokenizer = tokenizer_of(request, texts)
    for note in tokenizer.notes:
        say(note)
    return tokenizer, speller_of(tokenizer, texts, request.seed, say)


def speller_of(tokenizer: Tokenizer, texts: "Texts", seed: int, say: Say) -> Speller | None:
    """The speller of a word model, trained now; None at other levels."""
    words = plain(tokenizer)
    if not isinstance(words, WordTokenizer):
        return None
    with said_of_speller(say):
        return train_speller(word_types(texts, tokenizer, words), words, seed)
