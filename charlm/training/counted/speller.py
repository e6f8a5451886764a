"""The speller of a model of counts: n-grams of the letters of rare words."""

import functools
from collections.abc import Mapping

import numpy as np

from charlm.counts import ngram
from charlm.counts.backoff import BackOff
from charlm.inference.unknown import Speller
from charlm.network_config import CountsConfig
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.word import WordTokenizer
from charlm.training.texts.rare_words import log_sum, rare_words

_ORDER = 6  # of letters


def counted_speller(counts: Mapping[str, int], tokenizer: WordTokenizer, seed: int) -> Speller:
    """The speller of a word model, from how often each type occurs in its training text.

    Takes a second where the one of training/speller.py, a network, takes some.
    """
    words = rare_words(lambda: sorted(counts.items()), seed)
    characters = CharacterTokenizer.train(words)
    eos = np.array([characters.eos_id], dtype=np.int32)
    spelled = [np.concatenate((characters.encode(word), eos)) for word in words]
    model = ngram.train(spelled, characters.vocab_size, _ORDER)
    make = functools.partial(
        Speller, config=config_of(model), weights=ngram.to_arrays(model), tokenizer=characters
    )
    spelled_by_it = make(log_known=-1.0).spelled(tokenizer.types)
    return make(log_known=log_sum(spelled_by_it))


def config_of(model: BackOff) -> CountsConfig:
    """The shape of a model of counts."""
    return CountsConfig(vocab_size=model.vocab_size, order=model.order, num_ngrams=model.num_ngrams)
