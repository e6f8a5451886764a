"""Laws of texts larger than memory: read in passes, they are what they are in memory."""

import dataclasses
import errno
import gzip
import itertools
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import charlm
from charlm.checkpoints.token_store import StoredIds, Stores, TokenStore
from charlm.errors import CheckpointError, FieldError, LockedError, TextError, UsageError
from charlm.inference.unknown import unknown_of
from charlm.text.corpus import count, hold_out, sequence_hash
from charlm.text.tokens import from_ids
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import EOS_ID
from charlm.tokenizers.word_chunks import TypeCounter, count_types
from charlm.training.request import Request
from charlm.training.texts.material import text_material
from charlm.training.texts.rare_words import rare_words
from charlm.training.texts.sequences import Texts
from charlm.training.texts.streamed import excerpt, learning, place, sides
from charlm.training.texts.streamed.place import Place, files_of, settled
from charlm.training.texts.streamed.sides import Sides
from charlm.training.texts.streamed.stored_text import StoredText, in_memory
from charlm.training.texts.streamed.texts import StreamedTexts, read_streamed
from tests.support.disks import Failing, everywhere

WORDS = ["a", "the", "cat", "Dog,", "sat", "(on", "mat.", "né", "x\u0301y", "12", "3.5", "ǅ"]


def lines_of(seed: int, number: int = 300) -> list[str]:
    """Lines, some of them alike, some odd, of which many words are rare."""
    rng = random.Random(seed)

    def word() -> str:
        rare = "".join(rng.choices("abcdeé", k=4))
        return rng.choice([*WORDS, rare]) if rng.random() < 0.9 else f" {rare}\t"

    lines = [" ".join(word() for _ in range(rng.randint(1, 9))).strip() for _ in range(number)]
    return [line for line in (*lines, *lines[:20]) if line.strip()]


def asked(path: Path | str, **options: Any) -> Request:
    """What is asked for, as far as reading is concerned."""
    options = {"level": "word", "store": "", "split_on": "line", **options}
    return Request(corpus=(str(path),), **options)


def read(request: Request, root: Path, **of_place: Any) -> tuple[StreamedTexts, list[str]]:
    """The text of a request, its store below ``root``, and what was said."""
    said: list[str] = []
    return read_streamed(request, Place(root=root, **of_place), said.append), said


def both_sides(request: Request) -> dict[str, list[str]]:
    """The sequences of each side, as a pass has them."""
    found: dict[str, list[str]] = {"train": [], "valid": []}
    begun = {"train": "", "valid": ""}
    divide = learning.divider(request)
    files = files_of(request, request.corpus, request.split_on or "line")
    valid = files_of(request, request.valid, "line") if request.valid else None
    both = Sides(train=files, valid=valid, share=request.valid_share, seed=0, divide=divide)
    for part in both.parts():
        *whole, last = part.texts
        found[part.side] += whole
        begun[part.side] += last
        if part.ends:
            found[part.side].append(begun[part.side])
            begun[part.side] = ""
    return found


def sequences_in(ids: StoredIds) -> list[list[int]]:
    """The ids of each sequence, <EOS> left out."""
    return [one[:-1].tolist() for one in in_memory(ids).sequences()]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lines in a file."""
    path = tmp_path / "text"
    path.write_text("\n".join(lines_of(0)) + "\n")
    return path


@pytest.fixture
def quick_speller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has learned from the same words is not trained again."""
    trained = learning.trained_on
    made: dict[tuple[str, ...], Any] = {}

    def once(words: Any, tokenizer: Any, seed: int) -> Any:
        key = tuple(words)
        if key not in made:
            made[key] = trained(words, tokenizer, seed)
        return made[key]

    monkeypatch.setattr(learning, "trained_on", once)


# The passes


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.0, 0.6), st.integers(20, 3000))
def test_each_sequence_is_on_one_side(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float, block: int
) -> None:
    """All of them are there, in order; copies are on one side; that does not depend on blocks."""
    lines = lines_of(seed, 60)
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("\n".join(lines))
    request = asked(path, valid_share=share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.text.passes._BLOCK", block)
        found = both_sides(request)
    assert found == both_sides(request)
    assert not set(found["train"]) & set(found["valid"])
    held = set(found["valid"])
    assert found["train"] == [line for line in lines if line not in held]
    assert found["valid"] == [line for line in lines if line in held]


def test_about_the_share_is_held_out_and_another_by_another_seed() -> None:
    """The hash of a sequence is as good as a draw, for every seed anew."""
    hashes = np.array([sequence_hash(str(number)) for number in range(20_000)], dtype=np.uint64)
    first, second = (sides.mixed(hashes, seed) < sides.limit(0.1) for seed in (0, 1))
    assert abs(first.mean() - 0.1) < 0.01
    assert abs(second.mean() - 0.1) < 0.01
    assert abs((first & second).mean() - 0.01) < 0.004
    assert not (sides.mixed(hashes, 3) < sides.limit(0.0)).any()


@pytest.mark.parametrize("level", ["char", "word", "subword"])
@pytest.mark.parametrize("portion", [1, 50, 10**6])
def test_the_last_part_of_each_file_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, portion: int
) -> None:
    """Where a sequence is a file its ids are those of the file, whatever portions it is read in."""
    monkeypatch.setattr(sides, "_PORTION", portion)
    texts = ["\n".join(lines_of(seed, 30)) + "\n" * seed for seed in range(3)]
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / str(number)).write_text(text)
    (folder / "empty").write_text("")
    request = asked(folder, split_on="file", level=level, valid_share=0.2, vocab_size=300)
    found, _ = read(request, tmp_path / "ids")
    expected = hold_out(texts, split_on="file", share=0.2)
    tokenizer, _ = found.learned()
    assert found.store is not None
    for side, split in (("train", expected.train), ("valid", expected.valid)):
        assert sequences_in(found.store.ids(side)) == [tokenizer.encode(t).tolist() for t in split]
        sizes = found.sizes[side]._replace(words=0)
        assert sizes == count(split)._replace(words=0)
    assert excerpt.Excerpt.from_store(found.store).source.sequences == expected.train


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lowercase": True, "min_count": 3, "vocab_size": 30},
        {"pretokenized": True},
        {"normalize": "NFC"},
        {"normalize": "NFKC", "lowercase": True},
        {"level": "char"},
        {"level": "char", "normalize": "NFD", "vocab_size": 9},
        {"level": "subword", "vocab_size": 300},
        {"split_on": "paragraph"},
    ],
    ids=str,
)
def test_what_is_stored_is_what_memory_holds(tmp_path: Path, options: dict[str, Any]) -> None:
    """Vocabulary, ids, sizes and what spelling costs are those of the same sequences in memory,
    also where the counts of types are spilled to disk again and again.
    """
    path = tmp_path / "text"
    lines = lines_of(1)
    path.write_text("\n\n".join(("\n".join(lines[:100]), *lines[100:])))
    request = asked(path, valid_share=0.2, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.text.passes._BLOCK", 700)
        patch.setattr(TypeCounter, "MOST_BYTES", 20_000)
        found, _ = read(request, tmp_path / "ids")
    split = both_sides(request)
    assert split["valid"]
    tokenizer, speller = found.learned()
    if request.level != "subword":  # which learns from the same sequences in another order
        expected = train_tokenizer(
            split["train"],
            **{name: getattr(request, name) for name in ("level", "vocab_size", "min_count")},
            **{name: getattr(request, name) for name in ("lowercase", "pretokenized")},
            normalize=request.normalize,
        )
        assert tokenizer.to_files() == expected.to_files()
    texts = Texts(split["train"], split["valid"], request.split_on or "line")
    memory = text_material(texts, tokenizer, speller)
    streamed = found.material(tokenizer, speller)
    for side, own in (("train", memory.text), ("valid", memory.valid)):
        stored = streamed.text.whole() if side == "train" else streamed.valid
        assert own is not None
        assert stored is not None
        assert stored.ids.tolist() == own.whole().ids.tolist()
        assert stored.starts.tolist() == own.whole().starts.tolist()
        told, here = streamed.about[side], memory.about[side]
        assert told.pop("unknown_nats") == pytest.approx(here.pop("unknown_nats"), rel=1e-5)
        assert told == here
    assert streamed.known is not None
    assert memory.known is not None
    assert streamed.known.tolist() == memory.known.tolist()
    ours, theirs = streamed.source, memory.source
    assert ours is not None
    assert theirs is not None
    assert ours.sequences == theirs.sequences
    assert ours.numbers.tolist() == theirs.numbers.tolist()
    assert (ours.characters, ours.total, ours.held_out) == (
        *(theirs.characters, theirs.total),
        theirs.held_out,
    )
    unknown = unknown_of(tokenizer, speller)
    assert (speller is not None) == (request.level == "word")
    assert unknown is not None


def test_rare_words_are_those_of_counts_in_memory(corpus: Path, tmp_path: Path) -> None:
    """A speller learns from the same words whether their counts were on disk or in a dict."""
    counts = count_types(corpus.read_text().split("\n"))
    stores = Stores(tmp_path / "ids")
    with stores:
        kept = learning.SortedCounts(stores, stores.scratch(), "counts")
        for kind, number in random.Random(0).sample(sorted(counts.items()), len(counts)):
            kept.add({kind: number - number // 2, "of all": 0})
            kept.add({kind: number // 2} if number > 1 else {})
        kept.finish({})
        total = Counter(dict(kept.items()))
        del total["of all"]
        assert total == counts
        assert list(total) == sorted(counts)
    found = rare_words(lambda: sorted(counts.items()), 5)
    assert found == rare_words(lambda: iter(sorted(counts.items())), 5)
    assert set(found) <= set(counts)


def test_many_unknown_types_are_spelled_by_a_sample(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that tells of all is near what all would."""
    request = asked(corpus, vocab_size=12)
    exact, _ = read(request, tmp_path / "exact")
    monkeypatch.setattr(learning, "_SPELLED", 60)
    sampled, _ = read(request, tmp_path / "sampled")
    assert exact.store is not None
    assert sampled.store is not None
    nats = [one.store.about["train"]["unknown_nats"] for one in (exact, sampled)]  # type: ignore[union-attr]
    assert nats[0] != nats[1]
    assert nats[1] == pytest.approx(nats[0], rel=0.05)


def packed(form: str, lines: list[str]) -> bytes:
    """Lines in a file of some form."""
    text = ("\n".join(lines) + "\n").encode()
    objects = [json.dumps({"doc": {"text": line}, "id": i}) for i, line in enumerate(lines)]
    return {
        "plain": lambda: text,
        "gz": lambda: gzip.compress(text),
        "zst": lambda: zstandard.compress(text),
        "jsonl": lambda: "\n".join(objects).encode(),
        "jsonl.zst": lambda: zstandard.compress("\n".join(objects).encode()),
        "parquet": lambda: parquet_of({"doc.text": [*lines, None, " "]}),
    }[form]()


def parquet_of(columns: dict[str, list[Any]]) -> bytes:
    """A Parquet file of several groups of rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=37)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize("form", ["gz", "zst", "jsonl", "jsonl.zst", "parquet"])
def test_the_form_of_a_file_makes_no_difference(tmp_path: Path, form: str) -> None:
    """Packed, as JSON Lines or as a Parquet file it is the same text."""
    lines = lines_of(2)
    stores = {}
    for name in ("plain", form):
        (tmp_path / name).write_bytes(packed(name, lines))
        field = "doc.text" if name.startswith(("json", "parquet")) else None
        split = None if field else "line"
        found, _ = read(
            asked(tmp_path / name, text_field=field, split_on=split), tmp_path / f"ids {name}"
        )
        stores[name] = found
    plain, other = (stores[name].store for name in ("plain", form))
    assert plain is not None
    assert other is not None
    assert stores[form].split_on == "line"
    for side in ("train", "valid"):
        assert sequences_in(plain.ids(side)) == sequences_in(other.ids(side))


def test_a_field_is_read_in_memory_too(tmp_path: Path) -> None:
    """A small file of JSON Lines or Parquet is trained on as its texts in a file are."""
    lines = lines_of(3, 40)
    tiny = {"steps": 2, "hidden": 4, "embedding": 4, "index": False}
    (tmp_path / "plain").write_bytes(packed("plain", lines))
    models = [charlm.train(tmp_path / "plain", split_on="line", **tiny)]
    for form in ("jsonl", "parquet"):
        (tmp_path / form).write_bytes(packed(form, lines))
        models.append(charlm.train(tmp_path / form, text_field="doc.text", **tiny))
    scores = {model.score("the cat").total_log_prob for model in models}
    assert len(scores) == 1
    (tmp_path / "several").write_bytes(parquet_of({"t": ["a\nb c", "d e"] * 9}))
    model = charlm.train(tmp_path / "several", text_field="t", **tiny)
    assert model.checkpoint.split_on == "paragraph"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"t": "a"}\n{"t": 3}\n', r'line 2: it has no text in the field "t" but a number'),
        (b'{"t": "a"}\n\n[1]\n', "line 3: it is no JSON object"),
        (b'{"t": "\\ud800"}\n', "half a surrogate pair"),
        (parquet_of({"other": ["a"]}), 'has no column "t". There are other'),
        (parquet_of({"t": [1, 2]}), 'the column "t" of .* holds int64, no text'),
        (parquet_of({"t": ["a"]})[:-9], "cannot read"),
    ],
    ids=["number", "array", "surrogate", "column", "type", "damaged"],
)
def test_a_field_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    """One sentence says which file, line or column it is."""
    (tmp_path / "data").write_bytes(data)
    with pytest.raises(TextError, match=message):
        read(asked(tmp_path / "data", text_field="t", split_on=None), tmp_path / "ids")
    with pytest.raises(TextError, match=message):
        charlm.train(tmp_path / "data", text_field="t", steps=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]  # nothing is left of the store


def test_without_a_package_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zstd and Parquet need packages that charlm does without."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    monkeypatch.setitem(__import__("sys").modules, "compression.zstd", None)
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"the text"))
    (tmp_path / "b").write_bytes(b"PAR1\0\0\0\0PAR1")
    with pytest.raises(TextError, match=r"pip install 'charlm\[zstd\]'"):
        charlm.train(tmp_path / "a.zst", steps=1)
    with pytest.raises(TextError, match=r"pip install 'charlm\[parquet\]'"):
        charlm.train(tmp_path / "b", text_field="t", steps=1)
    with pytest.raises(TextError, match="Parquet file, no plain text"):
        charlm.train(tmp_path / "b", steps=1)


def test_what_is_endless_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line or a word that no memory could hold is named, with what to do."""
    for module in ("charlm.text.passes.MOST", "charlm.training.texts.streamed.sides.MOST"):
        monkeypatch.setattr(module, 1000)
    monkeypatch.setattr(sides, "_PORTION", 100)
    (tmp_path / "text").write_text("a b\n" + "ab" * 300_000)
    with pytest.raises(TextError, match=r"a line of more than 1,000 characters.*split_on=file"):
        read(asked(tmp_path / "text"), tmp_path / "ids")
    with pytest.raises(TextError, match="without a space: it cannot be cut into words"):
        read(asked(tmp_path / "text", split_on="file"), tmp_path / "ids")
    found, _ = read(asked(tmp_path / "text", split_on="file", level="char"), tmp_path / "ids")
    assert found.sizes["train"].characters == int(600_004 * 0.9)


# The parts of a training


def stored(tmp_path: Path, text: Any, segment: int, segments: int) -> StoredText:
    """A text in a file, as a training reads it."""
    path = tmp_path / "ids"
    text.ids.astype("<u2").tofile(path)
    ids = StoredIds(path, np.dtype("<u2"), text.num_tokens, text.num_sequences, text.vocab_size)
    return StoredText(ids, segment, segments)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_each_token_is_a_target_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    segment: int,
    segments: int,
    seed: int,
) -> None:
    """Whatever the parts, in each epoch each token follows what it follows in the text, once."""
    rng = np.random.default_rng(seed)
    text = from_ids([np.append(rng.integers(2, 9, size=n), EOS_ID) for n in lengths], 9)
    parted = stored(tmp_path_factory.mktemp("ids"), text, segment, segments)
    everywhere = np.arange(text.num_tokens)
    expected = Counter(zip(text.inputs(everywhere), text.targets(everywhere), strict=True))
    for epoch in range(2):
        found: Counter[tuple[int, int]] = Counter()
        for place_ in range(parted.num_parts):
            part = parted.part(seed, epoch * parted.num_parts + place_)
            assert 0 < part.num_tokens <= segment * segments
            at = np.arange(part.num_tokens)
            found.update(zip(part.inputs(at), part.targets(at), strict=True))
        assert found == expected
    assert parted.frequencies().tolist() == text.frequencies().tolist()
    whole = parted.whole()
    assert whole.ids.tolist() == text.ids.tolist()
    assert whole.inputs(everywhere).tolist() == text.inputs(everywhere).tolist()


def test_parts_are_from_all_over_the_text_and_others_each_epoch(tmp_path: Path) -> None:
    """A part is a draw of segments, a function of seed and number."""
    ids = [np.append(np.full(9, 2 + number % 5000), EOS_ID) for number in range(1000)]
    parted = stored(tmp_path, from_ids(ids, 5002), 10, 100)
    assert parted.num_parts == 10
    first = parted.part(0, 0)
    assert first.ids.tolist() == parted.part(0, 0).ids.tolist()
    assert np.ptp(first.ids[first.ids > EOS_ID]) > 700
    assert first.ids.tolist() != parted.part(0, 10).ids.tolist()
    assert first.ids.tolist() != parted.part(1, 0).ids.tolist()


TINY: dict[str, Any] = {"hidden": 6, "embedding": 5, "dropout": 0.2, "bptt_length": 4}
TINY |= {"batch_size": 3, "level": "char", "split_on": "line", "index": False}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so small that a few steps read several, and several epochs."""
    defaults = (64, 3)
    monkeypatch.setattr(StoredText.__init__, "__defaults__", defaults)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(("every", "keeps"), [(3, True), (17, False)])
def test_stop_and_resume_equal_no_stop(tmp_path: Path, every: int, keeps: bool) -> None:
    """A run that is stopped every few steps has the weights of one that never was, wherever that
    is, within a part or between two; also where its token store has gone in the meantime.
    """
    from charlm.checkpoints.run import Run
    from charlm.training.resume import resumed
    from charlm.training.trainer import Trainer

    (tmp_path / "text").write_text("\n".join(lines_of(0, 40)))
    request = asked(tmp_path / "text", store=str(tmp_path / "ids"), steps=40, level="char")
    request = dataclasses.replace(
        request, **{name: TINY[name] for name in ("hidden", "embedding", "dropout", "batch_size")}
    )
    ends = {}
    for name, stops in (("whole", 10**9), ("stopped", every)):
        with Run(tmp_path / name) as run:
            trainer = Trainer.settle(request, silent, place=Place(root=tmp_path / "ids"))
            trainer.begin(run)
        while trainer.state.step < 40:
            with Run(tmp_path / name) as run:
                if trainer.state.step:
                    if not keeps:
                        shutil.rmtree(tmp_path / "ids")
                    trainer = resumed(run, {}, silent)
                for _ in trainer.train(run, should_stop=every_so_often(stops)):
                    pass
        ends[name] = trainer
    whole, stopped = (ends[name].state for name in ("whole", "stopped"))
    assert whole.epoch == stopped.epoch > 2
    for ours, theirs in zip(whole.module.parameters(), stopped.module.parameters(), strict=True):
        assert (ours == theirs).all()


def every_so_often(calls: int) -> Callable[[], bool]:
    """Says to stop once it has been asked so many times: each step asks twice."""
    left = itertools.count(-2 * calls)
    return lambda: next(left) >= 0


def silent(_: str) -> None:
    """Say nothing."""


# The store


@pytest.mark.usefixtures("quick_speller")
def test_a_store_serves_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the files are as they were they are not read again; another question is another store.

    A file that has only been touched is read once, to see that it is the same text.
    """
    root = tmp_path / "ids"
    first, said = read(asked(corpus), root)
    assert any("pass 2" in line for line in said)

    def fail(*_: Any) -> Any:
        raise AssertionError("the text is read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sides, "parts", fail)
        again, said = read(asked(corpus), root)
    assert again.store is not None
    assert first.store is not None
    assert again.store.path == first.store.path
    assert again.fingerprint == first.fingerprint
    assert any("no file has changed since" in line for line in said)
    os.utime(corpus, (1, 1))
    touched, said = read(asked(corpus), root)
    assert touched.store is not None
    assert touched.store.path == first.store.path
    assert any("pass 1" in line for line in said)
    assert not any("pass 2" in line for line in said)
    read(asked(corpus, lowercase=True), root)
    corpus.write_text(corpus.read_text() + "one more line\n")
    other, _ = read(asked(corpus), root)
    assert other.fingerprint != first.fingerprint
    assert len(list(root.glob("tokens-*"))) == 3
    assert not list(root.glob(".tmp-*"))


@pytest.mark.row("F7")
@pytest.mark.usefixtures("quick_speller")
def test_a_damaged_store_is_written_anew(corpus: Path, tmp_path: Path, tally: Any) -> None:
    """Whatever byte is another, it is found out, said in a sentence, and the ids are right."""
    root = tmp_path / "ids"
    found, _ = read(asked(corpus, lowercase=True), root)
    assert found.store is not None
    path = found.store.path
    sound = {file.name: file.read_bytes() for file in path.iterdir()}
    rng = random.Random(0)
    cases = [(name, harm) for name in sorted(sound) for harm in ("flip", "cut", "gone", "longer")]
    for name, harm in cases[: tally.wanted(len(cases))]:
        data = bytearray(sound[name])
        if harm == "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif harm == "cut":
            del data[rng.randrange(len(data)) :]
        elif harm == "longer":
            data += b"\0"
        (path / name).write_bytes(bytes(data))
        if harm == "gone":
            (path / name).unlink()
        found, said = read(asked(corpus, lowercase=True), root)
        assert [line for line in said if "is damaged" in line], (name, harm)
        assert {file.name: file.read_bytes() for file in path.iterdir()} == sound
        tally.add()


@pytest.mark.usefixtures("quick_speller")
def test_a_forged_store_is_refused(corpus: Path, tmp_path: Path) -> None:
    """One whose hashes are right and whose ids are not in its vocabulary is not trained on."""
    from charlm.checkpoints.disk import save_directory
    from charlm.checkpoints.json_objects import to_json

    root = tmp_path / "ids"
    found, _ = read(asked(corpus), root)
    assert found.store is not None
    path = found.store.path
    files = {
        file.name: file.read_bytes() for file in path.iterdir() if file.name != "manifest.json"
    }
    about = json.loads(files["text.json"])
    size = len(files["train.ids"])
    forged = [
        {"train.ids": b"\xff\xff" + files["train.ids"][2:]},
        {"text.json": to_json({**about, "vocab_size": 3})},
        {"text.json": to_json({**about, "train": {**about["train"], "tokens": size}})},
        {"text.json": to_json({**about, "dtype": "float64"})},
        {"text.json": to_json({**about, "train": None})},
        {"text.json": b"[]"},
    ]
    for change in forged:
        save_directory(path, {**files, **change}, {"format": 1})
        with pytest.raises(CheckpointError):
            TokenStore.open(path)
        _, said = read(asked(corpus), root)
        assert any("is damaged" in line for line in said)
        TokenStore.open(path)
    save_directory(path, files, {"format": 2})
    with pytest.raises(CheckpointError, match="another format"):
        TokenStore.open(path)


@pytest.mark.slow
@pytest.mark.row("C6")
@pytest.mark.usefixtures("quick_speller")
def test_a_full_disk_leaves_nothing_half(corpus: Path, tmp_path: Path, tally: Any) -> None:
    """Whatever call fails while counts are spilled and ids are written, one sentence says so, no
    store is there but whole ones, and once there is room the next try is as if nothing had been.
    """
    expected, _ = read(asked(corpus), tmp_path / "expected")
    assert expected.store is not None
    whole = {file.name: file.read_bytes() for file in expected.store.path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charlm.text.passes._BLOCK", 1500)
        patch.setattr(TypeCounter, "MOST_BYTES", 40_000)
        for number, dead in ((errno.ENOSPC, False), (errno.EIO, False), (errno.EIO, True)):
            for k in itertools.count():
                root = tmp_path / f"{number}-{dead}" / str(k)
                disk = Failing(k, number, dead=dead)
                with everywhere(disk):
                    error = refusal(lambda root=root: read(asked(corpus), root))
                if error is not None:
                    assert os.strerror(number) in str(error)
                    assert "\n" not in str(error)
                stores = list(root.glob("tokens-*"))
                for path in stores:
                    TokenStore.open(path)
                if number == errno.ENOSPC and error is not None:
                    assert {*root.glob("*")} <= {*stores, root / ".lock"}
                    assert stores or not root.exists()
                found, _ = read(asked(corpus), root)
                assert found.store is not None
                assert {path.name for path in root.iterdir()} == {".lock", found.store.path.name}
                ids = (found.store.path / "train.ids").read_bytes()
                assert ids == whole["train.ids"]
                tally.add()
                if disk.calls <= k:
                    break


def refusal(action: Callable[[], object]) -> CheckpointError | None:
    """The error with which something ends, if it does."""
    try:
        action()
    except CheckpointError as error:
        return error
    return None


def test_a_store_has_one_writer(corpus: Path, tmp_path: Path) -> None:
    """Another process is told to wait, or to name another directory."""
    with (
        Stores(tmp_path / "ids"),
        pytest.raises(LockedError, match=r"writing tokens to .*ids.*another `store`"),
    ):
        read(asked(corpus), tmp_path / "ids")


def test_a_text_that_changes_while_it_is_read_is_refused(corpus: Path, tmp_path: Path) -> None:
    """Ids of one text are never taken for those of another."""

    def grow(watched: place.Watched | None) -> None:
        if watched is None:
            with corpus.open("a") as file:
                file.write("one more\n")

    with pytest.raises(TextError, match="changed while it was read"):
        read(asked(corpus), tmp_path / "ids", watch=grow)
    assert not (tmp_path / "ids").exists()


def test_passes_are_watched(corpus: Path, tmp_path: Path) -> None:
    """Whoever watches sees each pass come to its end."""
    seen: list[place.Watched | None] = []
    read(asked(corpus), tmp_path / "ids", watch=seen.append)
    ends = [before for before, now in itertools.pairwise(seen) if now is None]
    assert [one.what for one in ends if one is not None] == ["counting", "writing ids"]
    for end in ends:
        assert end is not None
        assert (end.sequences, end.end) == (len(lines_of(0)), corpus.stat().st_size)
        assert end.size == end.end


# What is asked for


def test_a_large_text_is_streamed_and_a_small_one_is_not(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its size, unless that is not known or what is asked for needs all of it at once."""
    small = asked(corpus, store=None)
    assert settled(small, silent) == small
    monkeypatch.setattr(place, "THRESHOLD", 1000)
    monkeypatch.setattr(place, "_HELD_OUT", 500)
    large = settled(small, silent)
    assert large.store == ""
    assert large.valid_share == pytest.approx(500 / corpus.stat().st_size)
    assert settled(dataclasses.replace(small, valid_share=0.2), silent).valid_share == 0.2
    for change in ({"distinct": True}, {"label_from": "file"}, {"task": "cloze"}):
        said: list[str] = []
        memory = dataclasses.replace(small, **change)
        assert settled(memory, said.append) == memory
        assert ["text: held in memory" in line for line in said] == [True]
        with pytest.raises(FieldError, match="store"):
            settled(dataclasses.replace(memory, store="ids"), silent)
    assert settled(dataclasses.replace(small, corpus=("-",)), silent).store is None
    with pytest.raises(UsageError, match="standard input can be read once"):
        settled(dataclasses.replace(small, corpus=("-",), store="ids"), silent)


def test_ngrams_that_would_fill_the_memory_are_refused(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read, with the size that they would take."""
    request = asked(corpus, ngram=5)
    assert settled(request, silent) == dataclasses.replace(request)
    monkeypatch.setattr(place, "_memory", lambda: 10_000)
    with pytest.raises(FieldError, match=r"ngram cannot be 5 here.* take about .* GB"):
        settled(request, silent)


def test_ngrams_of_a_stored_text_are_those_of_memory(corpus: Path, tmp_path: Path) -> None:
    """A partner is counted from the same ids."""
    from charlm.counts import ngram

    found, _ = read(asked(corpus), tmp_path / "ids")
    tokenizer, speller = found.learned()
    text = found.material(tokenizer, speller).text.whole()
    ours = ngram.train_text(text.ids, text.starts, text.vocab_size, 3)
    theirs = ngram.train(text.sequences(), text.vocab_size, 3)
    for own, other in zip(ours.levels, theirs.levels, strict=True):
        assert own.keys.tolist() == other.keys.tolist()
        assert own.counts.tolist() == other.counts.tolist()


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    """Blank text, or all of it held out."""
    (tmp_path / "blank").write_text(" \n\n")
    with pytest.raises(TextError, match="no text to train on"):
        read(asked(tmp_path / "blank"), tmp_path / "ids")
    (tmp_path / "text").write_text("a b\nc d\na c\n")
    with pytest.raises(TextError, match="no text to validate on"):
        read(asked(tmp_path / "text", valid=(str(tmp_path / "blank"),)), tmp_path / "ids")
    found, said = read(asked(tmp_path / "text", valid_share=0.0, min_count=1), tmp_path / "ids")
    assert "nothing is held out for validation" in said
    assert found.material(*found.learned()).valid is None


def test_what_to_validate_on_may_be_named(corpus: Path, tmp_path: Path) -> None:
    """Then nothing is held out of the other."""
    (tmp_path / "held").write_text("the cat sat\nthe zebra sat\n")
    request = asked(corpus, valid=(str(tmp_path / "held"),))
    found, _ = read(request, tmp_path / "ids")
    assert found.sizes["train"].sequences == len(lines_of(0))
    assert found.sizes["valid"] == count(["the cat sat", "the zebra sat"])


def test_subwords_are_learned_from_a_sample(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bounded size, drawn from all over the text; it is said."""
    monkeypatch.setattr(learning, "SAMPLE", 2000)
    monkeypatch.setattr("charlm.text.passes._BLOCK", 300)
    found, said = read(asked(corpus, level="subword", vocab_size=290), tmp_path / "ids")
    (told,) = (line for line in said if "subwords are learned from a sample" in line)
    assert 1900 < int(told.split()[6].replace(",", "")) <= 2000
    tokenizer, _ = found.learned()
    assert tokenizer.level == "subword"
    assert found.store is not None
    train = both_sides(asked(corpus))["train"]
    assert sequences_in(found.store.ids("train")) == [tokenizer.encode(t).tolist() for t in train]


def test_many_sequences_are_known_by_the_index_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their hashes would take memory without end; the index is a part of the text, as ever."""
    monkeypatch.setattr(excerpt, "MOST_KNOWN", 100)
    monkeypatch.setattr(excerpt, "_CHARACTERS", 1500)
    found, said = read(asked(corpus), tmp_path / "ids")
    assert any("more than 100 sequences" in line for line in said)
    kept = excerpt.Excerpt.from_store(found.store)  # type: ignore[arg-type]
    assert kept.known is None
    train = both_sides(asked(corpus))["train"]
    assert 800 < sum(map(len, kept.source.sequences)) < 2500
    assert kept.source.sequences == [train[i] for i in kept.source.numbers]
    assert (kept.source.characters, kept.source.total) == (sum(map(len, train)), len(train))
