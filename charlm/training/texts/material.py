"""Material: what a training is about, as ids."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.counts import interpolation, ngram
from charlm.counts.adaptive import ORDERS, Adaptive
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Evidence, Partner
from charlm.counts.left_out import LeftOut, left_out
from charlm.inference.labels import Labels
from charlm.inference.unknown import Speller, Unknown, unknown_of
from charlm.novelty.text_index import Source, source_of
from charlm.text.corpus import count, sequence_hashes
from charlm.text.tokens import TokenizedText, TrainingText, tokenize
from charlm.tokenizers.base import Tokenizer
from charlm.training.request import Request, Say
from charlm.training.texts.sequences import Texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What every training has: about is what model.json tells of the text.

    split_on is what a sequence is, None where that cannot be chosen; valid is what is held out,
    None where nothing is.
    """

    about: dict[str, Any]
    split_on: str | None
    valid: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextMaterial(Material):
    """What a language model is trained on, and what its checkpoints carry beside the weights.

    known are the hashes of the training sequences, None where they are files; speller is a word
    model's; partner is what the network is mixed with, its parameters those to begin with, and
    adaptive what goes on learning beside both, its weights not learned yet; labels are those of a
    conditional model; source is what an index of the training text is made of.
    """

    tokenizer: Tokenizer
    speller: Speller | None = None
    partner: Partner | None = None
    adaptive: Adaptive | None = None
    labels: Labels | None = None
    text: TrainingText
    valid: TokenizedText | None
    known: NDArray[np.uint64] | None
    split_on: str
    source: Source | None = None

    @functools.cached_property
    def evidence(self) -> Evidence | None:
        """What the partner makes of the text held out."""
        if self.partner is None or self.valid is None:
            return None
        return self.partner.evidence(self.valid.sequences())

    @functools.cached_property
    def left_out(self) -> LeftOut:
        """What n-grams of the rest of the text say of each of its tokens; counted when asked."""
        text = self.text.whole()
        return left_out(text.ids, text.starts, text.vocab_size)


def text_material(
    texts: Texts, tokenizer: Tokenizer, speller: Speller | None, partner: Partner | None = None
) -> TextMaterial:
    """The texts as ids, with what the checkpoints will say of them.

    Of each side that is its size, and the nats that its unknown words and characters add to what
    <UNK> costs.
    """
    unknown = unknown_of(tokenizer, speller)
    train = tokenize(tokenizer, texts.train, texts.train_labels)
    valid = tokenize(tokenizer, texts.valid, texts.valid_labels)
    sizes = {
        side: {
            **count(sequences)._asdict(),
            "unknown_nats": _spelling_nats(tokenizer, unknown, sequences, ids),
        }
        for side, sequences, ids in (("train", texts.train, train), ("valid", texts.valid, valid))
    }
    normalised = [tokenizer.normalise(text) for text in texts.train]
    known = sequence_hashes(normalised) if texts.split_on != "file" else None
    return TextMaterial(
        tokenizer=tokenizer,
        speller=speller,
        partner=partner,
        labels=texts.labels,
        text=train,
        valid=valid if texts.valid else None,
        known=known,
        split_on=texts.split_on,
        about={"fingerprint": texts.fingerprint, **sizes},
        source=source_of(normalised, map(tokenizer.normalise, texts.valid)),
    )


def _spelling_nats(
    tokenizer: Tokenizer, unknown: Unknown | None, texts: Sequence[str], ids: TokenizedText
) -> float:
    """-log P, in all, of what stands for <UNK> in texts, given that it is <UNK>."""
    places = np.flatnonzero(ids.ids == tokenizer.unk_id)
    holders = np.unique(np.searchsorted(ids.starts, places, side="right") - 1)  # few of the texts
    kinds = [kind for index in holders for kind in tokenizer.unknown(texts[index])]
    return -float(unknown.log_probs(kinds).sum()) if unknown is not None and kinds else 0.0


def partner_of(
    request: Request, tokenizer: Tokenizer, text: TrainingText, say: Say
) -> Partner | None:
    """What the network is to be mixed with, if that was asked for; its n-grams counted now."""
    order = request.ngram
    if order is None and request.adaptive:
        order = ORDERS[tokenizer.level]
    if order is None and not request.cache:
        return None
    begun, counts, cache, what = time.perf_counter(), None, None, []
    if order is not None:
        whole = text.whole()
        counts = ngram.train_text(whole.ids, whole.starts, tokenizer.vocab_size, order)
        number = sum(len(level.keys) for level in counts.levels)
        seconds = time.perf_counter() - begun
        what.append(f"{number:,} n-grams of up to {order} tokens ({seconds:.1f} s)")
    if request.cache or request.adaptive:
        cache = Cache(
            tokenizer.vocab_size, interpolation.LENGTHS[tokenizer.level], interpolation.WINDOW
        )
        what.append(f"a cache of the last {interpolation.WINDOW:,} tokens of a sequence")
    say(f"partner: {' and '.join(what)}, mixed with the network")
    return Partner.new(counts, cache)
