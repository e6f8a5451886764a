"""Letters: what a model of words says of the next character.

P(c | text) = P(a text begins with text and c) / Σ over all characters and the end, where P(a text
begins so) is the sum over all that the last token can still be (inference/beginning.py): all types
that begin as it does, and <UNK> times the probability that its spelling does. A word model gives
something to sequences of tokens that no text is cut into; since it is divided by the sum, that is
shared over what can come. So that no character is impossible, a millionth goes to all alike.

Letters: A characters, V types of words, C types of characters.
"""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.engines.protocol import Arbiter, Decoder
from charlm.equations.language_model import log_softmax
from charlm.inference.lettered.forks import Fork, Forks, kinds_in
from charlm.inference.unknown import Begun, Speller, UnknownCharacters
from charlm.tokenizers.base import EOS_ID, NUM_SPECIALS, UNK_ID
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.word import WordTokenizer

_LONG = 32  # characters: of a chunk that has more, tokens are settled
_OPEN = 4  # but for so many, of which more text may still change some
FLOOR = 1e-6  # of the probability is shared out evenly
_SPACE = "0 "
_OTHER = "\ufffd"  # what a character that is not in the alphabet is read as
Values = NDArray[np.float64]


class Words(Protocol):
    """What steps a model of words."""

    def begin(self) -> tuple[Any, Values]:
        """The state where a sequence begins, and log P (V,) of its first token."""

    def after(self, state: Any, token: int) -> tuple[Any, Values]:
        """The same after one token more; the state before it stays as it is."""


class ByDecoder:
    """Words as a decoder steps them."""

    def __init__(self, decoder: Decoder, vocab_size: int) -> None:
        self._decoder, self._mark = decoder, vocab_size

    def begin(self) -> tuple[Any, Values]:
        """After the mark of a beginning."""
        return self.after(self._decoder.read(np.empty(0, dtype=np.int64)), self._mark)

    def after(self, state: Any, token: int) -> tuple[Any, Values]:
        """Of a copy of the state: a decoder may change the one that it is given."""
        copied = self._decoder.select(state, np.zeros(1, dtype=np.int64))
        logits, after = self._decoder.step(np.array([token]), copied)
        return after, log_softmax(logits[0]).astype(np.float64)


class ByArbiter:
    """Words in double precision."""

    def __init__(self, arbiter: Arbiter, vocab_size: int) -> None:
        self._arbiter, self._mark = arbiter, vocab_size

    def begin(self) -> tuple[Any, Values]:
        """After the mark of a beginning."""
        return self.after(None, self._mark)

    def after(self, state: Any, token: int) -> tuple[Any, Values]:
        """After one token more."""
        after = self._arbiter.read(np.array([token]), state)
        return after, self._arbiter.log_probs([after])[0]


class Read(NamedTuple):
    """Where a model of words stands: log P (V,) there, and sums of P over types (V - 1,).

    The types are in the order of Forks, and sums[i] is that of those before number i.
    """

    state: Any
    log_probs: Values
    sums: Values


class Place(NamedTuple):
    """Where a sequence of characters stands.

    settled is where the words stand before the chunk, chunk what has come of it. is_spaced: a lone
    space stands before it, which is a token only if no word follows. reads remembers where the
    words stand after some ids of the chunk. Of a chunk of many tokens the first are settled, too,
    left being the last of them, and chunk what follows.
    """

    settled: Read
    reads: dict[tuple[int, ...], Read]
    chunk: str = ""
    is_spaced: bool = False
    left: str = ""


class Letters:
    """The next character, one of those that a model of characters knows, by plain words."""

    def __init__(
        self, words: WordTokenizer, speller: Speller, characters: CharacterTokenizer
    ) -> None:
        self._words, self._speller = words, speller
        self.vocab_size = characters.vocab_size
        known = range(NUM_SPECIALS, characters.vocab_size)
        self._alphabet = [characters.decode([i]) for i in known]
        self._spaces = {n: c for n, c in enumerate(self._alphabet) if c.isspace()}
        self._forks = Forks(words, self._alphabet)
        self._after_space = words.after_space()
        spelled = speller.spelled([words.types[i - NUM_SPECIALS] for i in self._forks.order])
        self._spelled = _sums(spelled)  # of known types, which <UNK> stands for none of
        self._room = -math.expm1(speller.log_known)
        self._spelling = Spelling(speller, self._alphabet)

    def begin(self, words: Words) -> Place:
        """Where a sequence begins."""
        return Place(self._read(*words.begin()), {})

    def after(self, words: Words, place: Place, token: int) -> Place:
        """Where it stands after one more type of the characters; after the end, where it was."""
        if token == EOS_ID:
            return place
        character = _OTHER if token == UNK_ID else self._alphabet[token - NUM_SPECIALS]
        if not character.isspace():
            return self._settled(words, place._replace(chunk=place.chunk + character))
        read = self._before_space(words, place)[1]
        if character == " " and place.chunk:
            return Place(read, {}, is_spaced=True)
        return Place(self._after(words, read, self._id(f"0{character}")), {})

    def _settled(self, words: Words, place: Place) -> Place:
        """The same place; of a long chunk the first tokens are settled."""
        if len(place.chunk) < _LONG:
            return place
        kinds = kinds_in(place.left, place.chunk)
        cut = len(kinds) - _OPEN
        if cut <= 0:
            return place
        read = self._at(words, place, tuple(kinds[:cut]))[1]
        chunk = "".join(kind[1:] for kind in kinds[cut:])
        return Place(read, {}, chunk, place.is_spaced, kinds[cut - 1][1:])

    def log_probs(self, words: Words, place: Place) -> Values:
        """log P (C,) of the types of characters that may come next."""
        masses = np.zeros(self.vocab_size)
        letters = masses[NUM_SPECIALS:]
        for fork in self._forks.of(place.left, place.chunk):
            log_prob, read = self._at(words, place, fork.before)
            np.add.at(letters, fork.character, math.exp(log_prob) * self._of_fork(fork, read))
        log_prob, read = self._before_space(words, place)
        share = math.exp(log_prob)
        for number, space in self._spaces.items():
            if space == " " and place.chunk:
                letters[number] = share * np.exp(read.log_probs[self._after_space]).sum()
            else:
                letters[number] = share * math.exp(self._log_prob(read, f"0{space}"))
        masses[EOS_ID] = share * math.exp(read.log_probs[EOS_ID])
        total = masses.sum()
        even = 1 / len(masses)
        shares = masses / total if total > 0 else np.full(len(masses), even)
        found: Values = np.log((1 - FLOOR) * shares + FLOOR * even)
        return found

    def _of_fork(self, fork: Fork, read: Read) -> Values:
        """P (M,) of what begins so, given where the words stand."""
        begun = np.stack([self._spelling.after(parent) for parent in fork.parents])  # (…, A)
        unknown = begun[fork.parent, fork.character]
        unknown -= self._spelled[fork.stop] - self._spelled[fork.first]
        share = math.exp(read.log_probs[UNK_ID]) / self._room
        of_types: Values = read.sums[fork.stop] - read.sums[fork.first]
        return of_types + share * np.maximum(unknown, 0)

    def _before_space(self, words: Words, place: Place) -> tuple[float, Read]:
        """log P of all that stands there if white space or the end comes next, and the read."""
        if place.chunk:
            return self._at(words, place, tuple(kinds_in(place.left, place.chunk)))
        return self._at(words, place, (_SPACE,) if place.is_spaced else ())

    def _at(self, words: Words, place: Place, kinds: tuple[str, ...]) -> tuple[float, Read]:
        """log P of types after what is settled, and where the words stand after them."""
        log_prob, read = 0.0, place.settled
        ids: tuple[int, ...] = ()
        for kind in kinds:
            log_prob += self._log_prob(read, kind)
            ids = (*ids, self._id(kind))
            if ids not in place.reads:  # all that is unknown leads to one
                place.reads[ids] = self._after(words, read, ids[-1])
            read = place.reads[ids]
        return log_prob, read

    def _after(self, words: Words, read: Read, token: int) -> Read:
        """Where the words stand after one more."""
        return self._read(*words.after(read.state, token))

    def _log_prob(self, read: Read, kind: str) -> float:
        """log P of a type, spelled if it is not known."""
        token = self._id(kind)
        log_prob = float(read.log_probs[token])
        return log_prob + (float(self._speller.log_probs([kind])[0]) if token == UNK_ID else 0.0)

    def _id(self, kind: str) -> int:
        return self._words.id_of(kind)

    def _read(self, state: Any, log_probs: Values) -> Read:
        return Read(state, log_probs, _sums(log_probs[self._forks.order]))


class Spelling:
    """How a speller goes on, by characters of an alphabet."""

    _REMEMBERED = 5_000  # beginnings

    def __init__(self, speller: Speller, alphabet: list[str]) -> None:
        self._speller = speller
        self._ids = np.array([speller.tokenizer.encode(c)[0] for c in alphabet], dtype=np.int64)
        share = UnknownCharacters(speller.tokenizer).log_share
        self._shares = np.where(self._ids == speller.tokenizer.unk_id, share, 0.0)
        self._begun: dict[str, Begun] = {}
        self._after: dict[str, Values] = {}

    def after(self, text: str) -> Values:
        """P (A,) that a spelling begins so and goes on with each of the characters."""
        if text not in self._after:
            if len(self._after) >= self._REMEMBERED:
                self._after.clear()
            begun = self._read(text)
            following = begun.following[self._ids] + self._shares
            self._after[text] = np.exp(begun.log_prob + following)
        return self._after[text]

    def _read(self, text: str) -> Begun:
        """What has been read of it goes on from there."""
        if len(self._begun) >= self._REMEMBERED:
            self._begun.clear()
        known = len(text)
        while known and text[:known] not in self._begun:
            known -= 1
        begun = self._begun[text[:known]] if known else self._speller.begun()
        for end in range(known, len(text)):
            begun = self._speller.after(begun, text[end])
            self._begun[text[: end + 1]] = begun
        return begun


def _sums(log_probs: Values) -> Values:
    """Σ of P before each number, (N + 1,) of log P (N,)."""
    return np.concatenate(([0.0], np.cumsum(np.exp(log_probs))))
