"""A model of counts alone: n-grams and, if wanted, a cache, of a text; no network, no steps.

All of it is counted at once and then saved as the step 0 of a run, so whatever reads runs reads
it: score, sample, evaluate, mixtures with networks, the server.
"""

import dataclasses
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

import charlm
from charlm import metrics
from charlm.checkpoints.files import Content
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import counts_to_bytes, known_to_bytes
from charlm.checkpoints.run import Run
from charlm.checkpoints.step import FORMAT, files_hash
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.counts import interpolation, ngram
from charlm.counts.backoff import BackOff
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.errors import UsageError
from charlm.inference.unknown import Speller
from charlm.novelty import text_index
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import UNKNOWN_WORD, count_types
from charlm.training.counted.speller import config_of, counted_speller
from charlm.training.kinds import COUNTS_LACK
from charlm.training.request import LANGUAGE_MODEL, Request, Say
from charlm.training.texts.index import index_text
from charlm.training.texts.material import TextMaterial, text_material
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.sequences import Texts, read_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """What was counted, of which text; ``cache`` has its strengths, where there is one."""

    request: Request
    material: TextMaterial
    counts: BackOff
    cache: Partner | None
    log_probs: NDArray[np.float64] | None  # (N,) in nats, of the text held out

    def save(self, run: Run, say: Say, *, keeps_text: bool = True) -> None:
        """Write all of it into a new run. Raises UsageError if the run exists already."""
        material = self.material
        run.begin(
            {
                "request": self.request.to_json(),
                "model": config_of(self.counts).to_json(),
                "fingerprint": material.about["fingerprint"],
                "index": keeps_text,
                "tokenizer": files_hash(material.tokenizer.to_files()),
            }
        )
        text_index.remove(run.path)  # of a run of that name that came to nothing
        if keeps_text:
            index_text(run, material, say)
        loss = None if self.log_probs is None else -float(self.log_probs.mean())
        about = {"text": material.about, "best_loss_nats_per_token": loss}
        files = files_of(
            self.counts,
            material.tokenizer,
            about,
            split_on=material.split_on,
            cache=self.cache,
            speller=material.speller,
        )
        if material.known is not None:
            files["known.safetensors"] = known_to_bytes(material.known)
        run.keep(0, files, best=None if loss is None else 0, validated=0, finished=True)

    @property
    def verdict(self) -> str:
        """How good it is on the text held out, in a line; empty where there is none."""
        if self.log_probs is None or self.material.valid is None:
            return ""
        held, number = self.material.about["valid"], self.material.valid.num_tokens
        unknown, total = held["unknown_nats"], float(self.log_probs.sum())
        bits = metrics.bits_per(total - unknown, held["characters"])
        per_token = (unknown - total) / number
        return f"validation loss: {per_token:.4f} nats per token, {bits:.4f} bits per character"


def count(request: Request, say: Say, given: TextsInMemory | None = None) -> Counted:
    """Read the texts, learn what turns them into ids, count.

    Texts ``given`` in memory stand in place of the files that a request names. Raises UsageError
    for what a model without a network does not have, TextError where there is nothing to count.
    """
    check(request)
    request = dataclasses.replace(request, level=request.level or "char")
    texts = read_texts(request, say, given)
    tokenizer = tokenizer_of(request, texts)
    for note in tokenizer.notes:
        say(note)
    material = text_material(texts, tokenizer, _speller(request, texts, tokenizer, say))
    text = material.text.whole()
    assert request.ngram is not None
    begun = time.perf_counter()
    counts = ngram.train_text(text.ids, text.starts, tokenizer.vocab_size, request.ngram)
    seconds = time.perf_counter() - begun
    say(
        f"vocabulary: {tokenizer.vocab_size:,} types at {request.level} level; "
        f"{text.num_tokens:,} tokens to count"
    )
    say(
        f"model: {counts.num_ngrams:,} n-grams of up to {request.ngram} tokens "
        f"({seconds:.1f} s), and no network"
    )
    cache, log_probs = None, None
    if request.cache:
        lengths = interpolation.LENGTHS[tokenizer.level]
        cache = Partner.new(None, Cache(tokenizer.vocab_size, lengths, interpolation.WINDOW))
        say(f"cache: the last {interpolation.WINDOW:,} tokens of a sequence, mixed in")
    if material.valid is not None:
        sequences = material.valid.sequences()
        log_probs = counts.token_log_probs(sequences)
        if cache is not None:
            evidence = cache.evidence(sequences)
            cache = interpolation.fit(cache, log_probs, evidence)
            log_probs = cache.combine(log_probs, evidence)
    return Counted(
        request=request, material=material, counts=counts, cache=cache, log_probs=log_probs
    )


def check(request: Request) -> None:
    """Raise UsageError for what a model of counts alone cannot be asked."""
    if request.task != LANGUAGE_MODEL:
        raise UsageError(f"a {request.task} needs a network: leave out counts_only.")
    if request.ngram is None:
        raise UsageError("`counts_only` counts n-grams: say of how many tokens, with `ngram`.")
    ngram.check_order(request.ngram)
    lacking = request.named(COUNTS_LACK)
    if lacking:
        raise UsageError(
            f"counts have no network to shape or to train: leave out {', '.join(lacking)}."
        )


def files_of(
    counts: BackOff,
    tokenizer: Tokenizer,
    about: Mapping[str, object],
    *,
    split_on: str,
    cache: Partner | None = None,
    speller: Speller | None = None,
) -> dict[str, Content]:
    """The files of a step that is counts alone; ``about`` is what else model.json tells."""
    told = {
        "format": FORMAT,
        "step": 0,
        "split_on": split_on,
        "level": tokenizer.level,
        "model": config_of(counts).to_json(),
        **about,
        "versions": {"charlm": charlm.__version__},
    }
    files: dict[str, Content] = {
        "model.json": to_json(told),
        **tokenizer.to_files(),
        "counts.safetensors": counts_to_bytes(counts),
    }
    if cache is not None:
        files["partner.json"] = to_json(cache.to_json())
    if speller is not None:
        files["speller.json"] = to_json(speller.to_json())
        files["speller.safetensors"] = arrays_to_bytes(speller.weights)
    return files


def tokenizer_of(request: Request, texts: Texts) -> Tokenizer:
    """What turns texts in memory into ids, learned now."""
    return train_tokenizer(
        texts.train,
        level=request.level or "char",
        vocab_size=request.vocab_size,
        min_count=request.min_count,
        lowercase=request.lowercase,
        pretokenized=request.pretokenized,
        subword_model=request.subword_model,
        normalize=request.normalize,
    )


def _speller(request: Request, texts: Texts, tokenizer: Tokenizer, say: Say) -> Speller | None:
    """Of a word model, what spells the words that it does not know."""
    words = plain(tokenizer)
    if not isinstance(words, WordTokenizer):
        return None
    begun = time.perf_counter()
    types = word_types(texts, tokenizer, words)
    speller = counted_speller(types, words, request.seed)
    seconds = time.perf_counter() - begun
    say(f"speller: n-grams of the letters of rare words spell unknown words ({seconds:.0f} s)")
    return speller


def word_types(texts: Texts, tokenizer: Tokenizer, words: WordTokenizer) -> dict[str, int]:
    """How often each type occurs in the text to train on, but for the name of all unknown ones."""
    counts = dict(count_types(map(tokenizer.normalise, texts.train), words.pretokenized))
    if words.pretokenized:
        counts.pop(UNKNOWN_WORD, None)  # it is no word to spell
    return counts
