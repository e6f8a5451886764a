"""StreamedTexts: a text that is read in passes, and what a training is made of from it.

The first pass counts what the tokenizer is learned from, measures both sides and takes the text's
fingerprint; the second writes ids into a token store. Where a store stands of the same files,
unchanged since, and of what was asked for, neither is made.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from charlm.checkpoints.disk import NewFile
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import load_speller
from charlm.checkpoints.step import files_hash
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.checkpoints.token_store import DTYPES, SIDES, Stores, TokenStore
from charlm.counts.interpolation import Partner
from charlm.errors import CheckpointError, TextError
from charlm.inference.labels import Labels
from charlm.inference.unknown import Speller, unknown_of
from charlm.text.bulk import Encoder
from charlm.text.corpus import Counts, choose_split
from charlm.text.passes import SequenceFiles
from charlm.text.tables import first_lines, said_of
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import Tokenizer
from charlm.training.request import Request, Say
from charlm.training.texts.material import TextMaterial
from charlm.training.texts.sequences import say_sizes, size_differences
from charlm.training.texts.streamed.excerpt import Excerpt, Taking
from charlm.training.texts.streamed.learning import Learner, divider, learner_of
from charlm.training.texts.streamed.place import Place, Watched, files_of
from charlm.training.texts.streamed.sides import Part, Sides
from charlm.training.texts.streamed.stored_text import StoredText, in_memory

# The fields of a request on which the ids depend.
_ASKED = (
    *("valid_share", "encoding", "errors", "text_field", "level", "vocab_size", "min_count"),
    *("lowercase", "pretokenized", "subword_model", "normalize", "seed"),
)
_NOTHING = Counts(0, 0, 0, 0)
_FIELD = "field"  # what a sequence is where it stands in one


@dataclasses.dataclass(frozen=True)
class StreamedTexts:
    """A text by its sizes and its store; that is None where the text is not what was expected."""

    split_on: str
    fingerprint: str
    sizes: Mapping[str, Counts]
    store: TokenStore | None
    labels: None = None

    def differences(self, split_on: str, labels: Labels | None, about: object) -> str:
        """What is another than a saved step says: what sequences are, and their sizes."""
        del labels
        changes = size_differences((split_on, about), (self.split_on, self.sizes))
        return ", ".join(changes) or "as long, but not the same"

    def learned(self) -> tuple[Tokenizer, Speller | None]:
        """What turns the text into ids, and what spells <UNK>. Raises CheckpointError."""
        assert self.store is not None
        return tokenizer_from_files(self.store.files()), load_speller(self.store)

    def material(
        self, tokenizer: Tokenizer, speller: Speller | None, partner: Partner | None = None
    ) -> TextMaterial:
        """What a training is made of. Raises CheckpointError where the store is damaged."""
        store = self.store
        if store is None or store.about["tokenizer"] != files_hash(tokenizer.to_files()):
            raise CheckpointError("the token store is of another tokenizer than the run.")
        excerpt = Excerpt.from_store(store)
        valid = store.ids("valid")
        told = (*Counts._fields, "unknown_nats")
        sizes = {side: {name: store.about[side][name] for name in told} for side in SIDES}
        return TextMaterial(
            tokenizer=tokenizer,
            speller=speller,
            partner=partner,
            text=StoredText(store.ids("train")),
            valid=in_memory(valid) if valid.num_tokens else None,
            known=excerpt.known,
            split_on=self.split_on,
            about={"fingerprint": self.fingerprint, **sizes},
            source=excerpt.source,
        )


def read_streamed(request: Request, place: Place, say: Say) -> StreamedTexts:
    """The text of a request, its ids in a store: one that stands, or one that is written now.

    Raises TextError where nothing is left to train on, CheckpointError where the disk refuses,
    LockedError where another process writes there.
    """
    train = files_of(request, request.corpus)
    valid = files_of(request, request.valid) if request.valid else None
    unit = _FIELD if request.text_field else request.split_on or _guessed(train)
    train = dataclasses.replace(train, split_on=unit)
    valid = None if valid is None else dataclasses.replace(valid, split_on=unit)
    asked = {name: getattr(request, name) for name in _ASKED} | {"unit": unit}
    stamps = [files.stamps() for files in (train, valid) if files is not None]
    with Stores(place.root) as stores:

        def is_same(about: Mapping[str, Any]) -> bool:
            expected = {"fingerprint": place.fingerprint, "tokenizer": place.tokenizer}
            return about.get("asked") == asked and all(
                value in (None, about.get(name)) for name, value in expected.items()
            )

        store = stores.find(lambda a: a.get("stamps") == stamps and is_same(a), say)
        if store is not None:
            say(f"text: its ids stand in {store.path}, and no file has changed since")
            texts = _of_store(store)
        else:
            reader = _Reader(request, place, stores, train, valid, asked | {}, stamps, say)
            texts = reader.read(is_same)
    say_sizes(request, texts.sizes["train"], texts.sizes["valid"], texts.split_on, say)
    return texts


def _of_store(store: TokenStore) -> StreamedTexts:
    about = store.about
    try:
        sizes = {side: Counts(*(about[side][name] for name in Counts._fields)) for side in SIDES}
        return StreamedTexts(about["split_on"], about["fingerprint"], sizes, store)
    except (KeyError, TypeError):
        raise CheckpointError(f"{store.path} does not describe a text.") from None


class _Reader:
    """Reads a text twice, and writes its store."""

    def __init__(
        self,
        request: Request,
        place: Place,
        stores: Stores,
        train: SequenceFiles,
        valid: SequenceFiles | None,
        asked: dict[str, Any],
        stamps: list[Any],
        say: Say,
    ) -> None:
        self._request, self._place, self._stores = request, place, stores
        self._asked, self._stamps, self._say = asked, stamps, say
        self._files = train
        self._size = train.size() + (0 if valid is None else valid.size())
        share = request.valid_share
        divide = divider(request) if asked["unit"] == "file" else _nowhere
        self._sides = Sides(train=train, valid=valid, share=share, seed=request.seed, divide=divide)
        self._sizes = dict.fromkeys(SIDES, _NOTHING)
        self._lengths: list[int] = []  # of the files to train on, in characters
        self._is_of_lines = True  # no sequence of a field has several

    def read(self, is_same: Any) -> StreamedTexts:
        """Both passes, or the first alone where the text is not the one that is expected."""
        scratch = self._stores.scratch()
        try:
            learner = learner_of(self._request, self._stores, scratch)
            fingerprint = self._survey(learner)
            if self._place.fingerprint not in (None, fingerprint):
                return StreamedTexts(self._split_on, fingerprint, self._sizes, None)
            self._check_sizes()
            tokenizer, speller = self._learned(learner)
            hashed = files_hash(tokenizer.to_files())

            def is_this(about: Mapping[str, Any]) -> bool:
                found = (about.get("fingerprint"), about.get("tokenizer"))
                return is_same(about) and found == (fingerprint, hashed)

            store = self._stores.find(is_this, self._say)
            if store is None:
                store = self._write(learner, fingerprint, tokenizer, speller)
            return StreamedTexts(self._split_on, fingerprint, self._sizes, store)
        finally:
            self._stores.discard(scratch)

    @property
    def _split_on(self) -> str:
        unit: str = self._asked["unit"]
        if unit != _FIELD:
            return unit
        return "line" if self._is_of_lines else "paragraph"

    def _survey(self, learner: Learner) -> str:
        """The first pass; the fingerprint."""
        say, begun = self._say, time.perf_counter()
        say(
            f"text: about {self._size / 1e6:,.0f} MB, read twice and not held in memory; its ids "
            f"go to {self._stores.root}"
        )
        if self._asked["unit"] != _FIELD:
            for name, text in self._files.beginnings():
                for note in said_of(name, first_lines(text)):
                    say(note)
        fingerprint = _Fingerprint(self._asked["unit"])
        length = 0
        for part in self._watched("counting", say):
            learner.add(part)
            fingerprint.add(part)
            sizes = zip(self._sizes[part.side], part.sizes, strict=True)
            self._sizes[part.side] = Counts(*map(sum, sizes))
            if self._asked["unit"] == _FIELD and self._is_of_lines:
                self._is_of_lines = not any("\n" in text for text in part.texts)
            if self._sides.is_of_files and part.side == "train":
                length += part.sizes.characters
                if part.ends:
                    self._lengths.append(length)
                    length = 0
        say(f"pass 1: {self._what(self._sizes)} counted ({time.perf_counter() - begun:.1f} s)")
        return fingerprint.found()

    def _watched(self, what: str, note: Say) -> Iterator[Part]:
        """All parts, and whoever watches is told how far it has come."""
        number = 0
        for part in self._sides.parts(note):
            yield part
            number += part.sizes.sequences
            self._place.watch(Watched(what, number, part.end, self._size))
        self._place.watch(None)

    def _check_sizes(self) -> None:
        """Raise TextError if a side that is needed is empty."""
        if not self._sizes["train"].sequences:
            raise TextError("there is no text to train on: the corpus is empty or blank.")
        if self._sizes["valid"].sequences:
            return
        if self._request.valid:
            raise TextError("there is no text to validate on: it is empty or blank.")
        self._say("nothing is held out for validation")

    def _learned(self, learner: Learner) -> tuple[Tokenizer, Speller | None]:
        """Those of a run that is gone on with, or new ones."""
        if self._place.saved is not None:
            saved = self._place.saved()
            return saved.tokenizer, saved.speller
        tokenizer = learner.tokenizer(self._say)
        return tokenizer, learner.speller(tokenizer, self._say)

    def _write(
        self, learner: Learner, fingerprint: str, tokenizer: Tokenizer, speller: Speller | None
    ) -> TokenStore:
        """The second pass. Raises TextError if the text is no longer what it was in the first."""
        begun = time.perf_counter()
        name = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
        dtype = DTYPES[name]
        characters = sum(sizes.characters for sizes in self._sizes.values())
        sequences = sum(sizes.sequences for sizes in self._sizes.values())
        self._stores.check_room(dtype.itemsize * (learner.most_tokens(characters) + sequences))
        unknown = unknown_of(tokenizer, speller)
        spelled = {side: learner.spelled(side, tokenizer, unknown) for side in SIDES}

        def fill(
            ids: Mapping[str, NewFile],
        ) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
            again, encoder = _Fingerprint(self._asked["unit"]), Encoder(tokenizer)
            taking = Taking(self._sizes["train"], self._lengths)
            for part in self._watched("writing ids", lambda _: None):
                again.add(part)
                texts = encoder.normalised(part.texts)
                found = encoder.closed(texts) if part.ends else encoder.encode(texts)[0]
                ids[part.side].write(found.astype(dtype).data)
                taking.add(part, texts)
            if again.found() != fingerprint:
                raise TextError("the text has changed while it was read: begin again.")
            about: dict[str, Any] = {
                "asked": self._asked,
                "stamps": self._stamps,
                "fingerprint": fingerprint,
                "tokenizer": files_hash(tokenizer.to_files()),
                "split_on": self._split_on,
                "vocab_size": tokenizer.vocab_size,
                "dtype": name,
            }
            for side in SIDES:
                about[side] = {
                    "tokens": ids[side].entry.size // dtype.itemsize,
                    **self._sizes[side]._asdict(),
                    "unknown_nats": spelled[side].nats,
                }
            files = {**tokenizer.to_files(), **taking.excerpt(self._say).to_files()}
            if speller is not None:
                files["speller.json"] = to_json(speller.to_json())
                files["speller.safetensors"] = arrays_to_bytes(speller.weights)
            return about, files

        store = self._stores.write(fingerprint, files_hash(tokenizer.to_files()), fill)
        tokens = sum(store.ids(side).num_tokens for side in SIDES)
        self._say(
            f"pass 2: {tokens:,} tokens in {tokens * dtype.itemsize / 1e6:,.0f} MB written to "
            f"{store.path} ({time.perf_counter() - begun:.1f} s)"
        )
        return store

    def _what(self, sizes: Mapping[str, Counts]) -> str:
        number = sum(one.sequences for one in sizes.values())
        return f"{number:,} sequence{'' if number == 1 else 's'}"


class _Fingerprint:
    """SHA-256 of a text: of what a sequence is, and of each side in turn."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._sides = {side: hashlib.sha256() for side in SIDES}

    def add(self, part: Part) -> None:
        """Take in a part."""
        self._sides[part.side].update(part.digest)

    def found(self) -> str:
        """That of all so far, in hexadecimal."""
        whole = hashlib.sha256(self._unit.encode())
        for digest in self._sides.values():
            whole.update(digest.digest())
        return whole.hexdigest()


def _guessed(files: SequenceFiles) -> str:
    """What a sequence seems to be."""
    return choose_split(text for _, text in files.beginnings())


def _nowhere(text: str) -> tuple[str, str]:
    """Whole sequences are not divided."""
    return text, ""
