"""Labelled and bidirectional models, heads, translators: what they save, read and score.

Rows C2, C4, F4, L2, T1 and T2 of the matrix for them; those of running trainings stand in
test_running.py, those of files in test_storage.py, of terminals in test_terminal.py.
"""

import contextlib
import errno
import itertools
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.checkpoints import directory
from charlm.checkpoints.head import HeadCheckpoint
from charlm.checkpoints.language_model import Checkpoint
from charlm.engines import torch_cloze, torch_pairs
from charlm.errors import CheckpointError
from charlm.models import heads
from charlm.models.cloze_model import ClozeModel
from charlm.models.engine_choice import EngineChoice
from charlm.models.load import load
from charlm.models.translator import Translator
from charlm.nn import examples
from tests.support.cli import charlm, complaint
from tests.support.disks import Failing, Recorder, crash_states, everywhere, restore, snapshot
from tests.support.kinds import begin, go_on, outcome, with_texts
from tests.support.matrix import Tally
from tests.support.odd_corpora import odd_corpora
from tests.support.steps import OTHERS, forge, read_all, use

RUNS = Path("checkpoints")
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
HEADS = ("classifier", "tagger", "translator")  # kinds of their own
WORDS = ("the", "big", "old", "bear", "jay", "eats", "plum", "zyx", "Ωμέγα", "\u0301", "3")
TOLERANCE = 1e-5  # nats a token


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of each kind, and one that is of none."""
    folder = with_texts(tmp_path_factory.mktemp("kinds"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in ("plain", *OTHERS):
            ended = charlm(*begin(kind, "--quiet", kind=kind, steps=4))
            assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


# Disks that fail, machines that stop


def more(kind: str) -> tuple[str, ...]:
    """The command that trains a run of a kind further."""
    return go_on(kind, "--steps", "6", "--quiet")


def swept(run: Path) -> dict[str, Any]:
    """What a run has come to, without the older steps that could not be deleted."""
    pointers = json.loads((run / "pointers.json").read_text())
    kept = {f"step-{pointers[name]:08d}" for name in ("latest", "best")}
    for step in run.glob("step-*"):
        if step.name not in kept:
            shutil.rmtree(step)
    return outcome(run)


@pytest.mark.row("C2")
@pytest.mark.parametrize("kind", OTHERS)
def test_a_failing_disk_costs_a_training_nothing_saved(
    here: Path, trained: Path, tally: Tally, kind: str
) -> None:
    """Whatever call of a training fails, its calibration included: exit 4 with a sentence, or all
    went well; every step loads, and gone on with the run comes to what it comes to otherwise.
    """
    run = RUNS / kind
    counting = Failing(10**9, errno.EIO)
    with everywhere(counting):
        assert charlm(*more(kind)).code == 0
    expected, cases = swept(run), tally.wanted(16)
    failed = 0
    for case in range(cases):
        shutil.rmtree(run)
        shutil.copytree(trained / run, run)
        disk = Failing(counting.calls * case // cases, NUMBERS[case % 4])
        with everywhere(disk):
            ended = charlm(*more(kind))
        assert ended.code in (0, 4), ended.stderr
        assert not ended.code or ended.stderr.startswith(b"charlm: error: cannot ")
        assert ended.stderr.count(b"\n") == bool(ended.code)
        failed += ended.code == 4
        for step in run.glob("step-*"):
            read_all(step)
        again = charlm(*more(kind))
        assert again.code in (0, 2), again.stderr
        assert again.code == 0 or b"is finished: 6 steps" in again.stderr
        assert swept(run) == expected
        tally.add()
    assert failed > cases // 2


@pytest.mark.row("C4")
@pytest.mark.parametrize("kind", ["labelled", *HEADS])
def test_after_a_crash_of_a_training_it_goes_on(here: Path, tally: Tally, kind: str) -> None:
    """Of every operation that was not flushed, whatever the disk has lost, between the end of a
    training and its calibration and amid it, too: a step loads, and --resume finishes the run.
    """
    run = RUNS / kind
    before, recorder = snapshot(run), Recorder(run)
    with everywhere(recorder):
        assert charlm(*more(kind)).code == 0
    expected = swept(run)
    states = list(crash_states(before, recorder.ops))
    chosen = random.Random(kind).sample(states, min(len(states), tally.wanted(60)))
    for number, state in enumerate(chosen):
        shutil.rmtree(run)
        restore(state, run)
        directory.recover(run)
        assert list(run.glob("step-*"))
        for step in run.glob("step-*"):
            read_all(step)
        if number % 6 == 0:
            again = charlm(*more(kind))
            assert again.code == 0 or b"is finished: 6 steps" in again.stderr, again.stderr
            found = swept(run)
            assert {**found, "log": expected["log"]} == expected
            # A line that was appended and not flushed may take the file with it: no more than that.
            assert all(line in expected["log"] for line in found["log"])
        tally.add()


# Files and models of another kind


@pytest.mark.row("F4")
def test_files_of_another_kind_are_refused(here: Path, tally: Tally) -> None:
    """A file of one kind in a step of another, its manifest made to fit: refused, unless nothing
    in it tells the kinds apart.
    """
    steps = {kind: max((RUNS / kind).glob("step-*")) for kind in ("plain", *OTHERS)}
    names = {kind: {path.name for path in steps[kind].iterdir()} for kind in steps}
    cases = [
        (to, of, name)
        for to, of in itertools.permutations(steps, 2)
        for name in sorted(names[to] & names[of])
        if name != "manifest.json"
    ]
    for to, of, name in cases:
        run = RUNS / "swapped"
        shutil.rmtree(run, ignore_errors=True)
        step = Path(shutil.copytree(RUNS / to, run)) / steps[to].name
        forge(step, **{name: (steps[of] / name).read_bytes()})
        if name.startswith("model."):
            with pytest.raises(CheckpointError, match=f"{step}|{run} is a") as refused:
                read_all(step)
            assert "\n" not in str(refused.value)
        elif name == "training.safetensors" or (
            name == "training.json" and (to in HEADS) != (of in HEADS)
        ):
            ended = charlm(*go_on("swapped", "--steps", "6", "--quiet"))
            assert (ended.code, ended.stderr.count(b"\n")) == (4, 1), (to, of, name, ended)
            assert b"charlm: error: training." in ended.stderr
        else:  # what is the same in both, counters, hashes of the text, or a vocabulary
            with contextlib.suppress(CheckpointError):
                use(step)
        tally.add()


@pytest.mark.row("F4")
@pytest.mark.parametrize("kind", OTHERS)
def test_a_run_that_asks_for_what_cannot_be_is_refused(
    here: Path, trained: Path, tally: Tally, kind: str
) -> None:
    """run.json and training.json have no hash of their own makers: whatever stands in a field of
    theirs, --resume refuses it with a sentence, or goes on to a model that can be used.
    """
    asked = json.loads((RUNS / kind / "run.json").read_text())
    step = max((RUNS / kind).glob("step-*"))
    counters = json.loads((step / "training.json").read_text())
    fields = [(part, name) for part in ("request", "model", "training") for name in asked[part]]
    fields += [("", name) for name in counters]
    values = (-1, 10**400, "zz", None, [], True, {"a": 1}, 1.5, 2**62)
    cases = list(itertools.product(fields, values))
    chosen = random.Random(kind).sample(cases, min(len(cases), tally.wanted(50)))
    for (part, name), value in chosen:
        shutil.rmtree(RUNS / kind)
        shutil.copytree(trained / RUNS / kind, RUNS / kind)
        if part:
            changed = {**asked, part: {**asked[part], name: value}}
            (RUNS / kind / "run.json").write_text(json.dumps(changed))
        else:
            forge(step, training_json=json.dumps({**counters, name: value}).encode())
        ended = charlm(*go_on(kind, "--steps", "5", "--quiet"))
        assert ended.code in (0, 2, 3, 4), (part, name, value, ended)
        assert ended.stderr.count(b"charlm: error: ") == bool(ended.code), (
            part,
            name,
            value,
            ended,
        )
        assert b"unexpected error" not in ended.stderr
        if not ended.code:
            use(max((RUNS / kind).glob("step-*")))
        tally.add()


COMMANDS: dict[str, tuple[str, ...]] = {
    "sample": ("sample", "--n", "1", "--max-tokens", "2"),
    "score": ("score", "the bear"),
    "evaluate": ("evaluate", "corpus.txt"),
    "next": ("next", "the"),
    "fill": ("fill", "the [?]"),
    "classify": ("classify", "the bear"),
    "tag": ("tag", "tagged.conll"),
    "compare": ("compare", "corpus.txt", "--resamples", "10"),
    "novelty": ("novelty", "corpus.txt"),
    "tokenize": ("tokenize", "the bear"),
    "translate": ("translate", "the bear"),
    "info": ("info",),
    "card": ("info", "--card"),
}
CAN: dict[str, tuple[str, ...]] = {
    "plain": ("sample", "score", "evaluate", "next", "compare", "novelty", "tokenize"),
    "labelled": (
        *("sample", "score", "evaluate", "next", "classify", "compare", "novelty", "tokenize"),
    ),
    "bidirectional": ("score", "evaluate", "fill", "novelty", "tokenize"),
    "classifier": ("classify", "tokenize"),
    "tagger": ("tag",),
    "translator": ("sample", "score", "evaluate", "compare", "tokenize", "translate"),
}
OF_PAIRS: dict[str, tuple[str, ...]] = {  # how a translator is asked
    "sample": ("--source", "the bear"),
    "score": ("--source", "big"),
}


@pytest.mark.parametrize("kind", CAN)
def test_a_model_says_what_it_is(here: Path, kind: str) -> None:
    """Every command takes a model of its kind, and refuses another in one sentence that says what
    that is; so does a Python program that loads it.
    """
    for name, command in COMMANDS.items():
        if kind == "translator":
            command = tuple(word.replace("corpus.txt", "pairs.tsv") for word in command)
            command = (*command, *OF_PAIRS.get(name, ()))
        words = (*command, "--model", kind)
        if name == "compare":  # with itself: what it is of a text is the same
            words = (*command[:1], kind, kind, *command[1:])
        ended = charlm(*words)
        assert b"unexpected" not in ended.stderr, (words, ended.stderr)
        if name in ("info", "card"):
            continue
        assert (ended.code == 0) == (name in CAN[kind]), (words, ended)
        if ended.code:
            assert ended.code in (2, 4)
            assert ended.err.splitlines()[-1].startswith("charlm: error: ")
            what = (
                kind if kind in HEADS else "both sides|from left to right|no labels|language model"
            )
            assert re.search(what, ended.err), (words, ended.stderr)
            if (used := re.search(r"Use it with charlm ([^.]*)\.", ended.err)) is not None:
                assert set(re.split(", | or ", used[1])) <= set(CAN[kind])
            else:
                assert kind not in HEADS, (words, ended.stderr)
    step = next((RUNS / kind).glob("step-*"))
    loaders: dict[str, Callable[[], object]] = {
        "language model": lambda: Checkpoint.load(step),
        "classifier": lambda: load(step, task="classifier"),
        "tagger": lambda: load(step, task="tagger"),
        "translator": lambda: load(step, task="translator"),
    }
    is_one = kind if kind in HEADS else "language model"
    for name, loader in loaders.items():
        if name == is_one:
            assert loader()
        else:
            with pytest.raises(CheckpointError, match=rf"{kind} is a {is_one}, (not a|no) {name}"):
                loader()
    if kind not in HEADS:
        with pytest.raises(CheckpointError, match=r"model\.json"):
            HeadCheckpoint.load(step)


# Numbers


def texts_of(rng: random.Random, number: int) -> list[str]:
    """Texts of many lengths, now and then an empty one, or one of letters that nobody knows."""
    lengths = (0, 1, 3, 12, 40, 150)
    return [" ".join(rng.choices(WORDS, k=lengths[at % len(lengths)])) for at in range(number)]


def figures(kind: str) -> Iterator[tuple[str, Callable[[Sequence[str]], list[np.ndarray]]]]:
    """What a model says of texts, each in an array of its own, by NumPy and by torch."""
    step = next((RUNS / kind).glob("step-*"))
    for engine in ("numpy", "torch"):
        if kind == "classifier":
            classifier = heads.Classifier(HeadCheckpoint.load(step))
            yield engine, lambda texts, m=classifier: list(m.log_posteriors(texts))
        elif kind == "tagger":
            tagger = heads.Tagger(HeadCheckpoint.load(step))
            yield engine, lambda texts, m=tagger: m.log_probs([text.split() for text in texts])
        elif kind == "translator":
            translator = load(step, task="translator")

            def of_targets(texts: Sequence[str], m: Translator = translator) -> list[np.ndarray]:
                scores = m.score_all((text, text[::-1][:20]) for text in texts)
                return [np.array([one.log_prob for one in score.tokens]) for score in scores]

            yield engine, of_targets
        elif kind == "labelled":
            lm = load(step)
            yield engine, lambda texts, m=lm: list(m.log_posteriors(texts))
        else:
            lm = load(step)

            def scores(texts: Sequence[str], m: ClozeModel = lm) -> list[np.ndarray]:
                found = m.pseudo_score_all(texts, per_token=True)
                each = [score.sums.tokens for score in found]
                return [np.array([token.log_prob for token in tokens or ()]) for tokens in each]

            yield engine, scores


@pytest.mark.row("L2")
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_said_of_a_text_is_its_own(
    here: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally, kind: str
) -> None:
    """Posteriors of labels and tags, and pseudo-log-probabilities, are those of the text alone,
    whatever stands beside it, in any order, in batches and windows of any size, on either engine.
    """
    rng = random.Random(kind)
    texts = texts_of(rng, tally.wanted(24))
    (_, by_numpy), (_, by_torch) = figures(kind)

    def by(engine: str) -> None:
        monkeypatch.setattr(EngineChoice, "kind_for", lambda *_, **__: engine)
        monkeypatch.setattr(heads, "_FEW_TOKENS", 10**9 if engine == "numpy" else 0)

    by("numpy")
    alone = [by_numpy([text])[0] for text in texts]
    together = [by_numpy(texts)]
    by("torch")
    for most, window in ((4096, 2048), (50, 9), (1, 70)):
        monkeypatch.setattr(examples, "MOST_TOKENS", most)
        monkeypatch.setattr(torch_pairs, "_READ_AT_ONCE", max(1, most // 50))
        monkeypatch.setattr(torch_cloze, "_TOKENS", most)
        monkeypatch.setattr(torch_cloze, "_LONGEST", window)
        order = rng.sample(range(len(texts)), len(texts))
        found: dict[int, np.ndarray] = {}
        size = rng.choice((3, 7, len(texts)))
        for at in range(0, len(texts), size):
            batch = order[at : at + size]
            found |= dict(zip(batch, by_torch([texts[index] for index in batch]), strict=True))
        together.append([found[index] for index in range(len(texts))])
    for index, text in enumerate(texts):
        size = len(text) + 1 if kind == "labelled" else 1  # a sum over the tokens of the text
        for others in together:
            assert others[index].shape == alone[index].shape
            assert alone[index].size or (kind == "tagger" and not text)
            if alone[index].size:
                assert np.abs(others[index] - alone[index]).max() <= TOLERANCE * size, text
        tally.add()


@pytest.mark.row("L2")
def test_a_gap_is_filled_alike(here: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    """Fillings have the same probabilities on either engine, whatever was filled before."""
    lm, rng = load(RUNS / "bidirectional"), random.Random(3)
    for _ in range(tally.wanted(12)):
        words = rng.choices(WORDS, k=6)
        words[rng.randrange(6)] = rng.choice(("[?]", "[?2]", "[?][?3]"))
        found = []
        for engine in ("numpy", "torch", "numpy"):
            monkeypatch.setattr(EngineChoice, "kind_for", lambda *_, e=engine, **__: e)
            found.append(lm.fill(" ".join(words), top=4).entries)
        for entries in found[1:]:
            for ours, theirs in zip(found[0], entries, strict=True):
                assert abs(ours.log_prob - theirs.log_prob) <= TOLERANCE * 4
        tally.add()


# Any bytes


LABELS_OF_LINES = (b"\ta", b"\tb", b"\t\xc3\xa9 \x1b[2J", b"")


def as_corpus(kind: str, data: bytes) -> bytes:
    """The bytes as what a kind is trained on: a text, a label in the column behind, or tags."""
    lines = data.split(b"\n")[:60]
    if kind == "tagger":
        words = [line.split()[:30] for line in lines]
        tags = (b" O\n", b" B-X\n")
        return b"\n".join(
            b"".join(word + tags[len(word) % 2] for word in line) for line in words if line
        )
    if kind == "bidirectional":
        return data[:3000]
    if kind == "translator":
        return b"\n".join(
            line[:60] + b"\t" + line[:60][::-1] if number % 17 else line[:60]
            for number, line in enumerate(lines)
        )
    return b"\n".join(
        line[:200] + LABELS_OF_LINES[number % 3 if number % 17 else 3]
        for number, line in enumerate(lines)
    )


@pytest.mark.row("T1")
def test_odd_corpora_train_other_kinds_or_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Any bytes with labels, with tags or read from both sides: trained on and then used, or
    refused in one sentence. In a usual run each text goes to one kind, in the nightly to all.
    """
    uses = {
        "labelled": ("classify", "--file", "odd.txt", "--tsv"),
        "bidirectional": ("score", "--file", "odd.txt"),
        "classifier": ("classify", "--file", "odd.txt", "--json"),
        "tagger": ("tag", "odd.txt"),
        "translator": ("translate", "--file", "odd.txt", "--max-tokens", "5"),
    }
    corpora = list(odd_corpora())
    wanted = tally.wanted(120)
    cases = [
        (name, data, OTHERS[(number + shift) % len(OTHERS)])
        for shift in range(min(len(OTHERS), wanted // 120))
        for number, (name, data) in enumerate(corpora)
    ]
    wrong, worked = [], 0
    for level, (name, data, kind) in itertools.islice(
        zip(itertools.cycle(("char", "word", "subword")), itertools.cycle(cases)), wanted // 2
    ):
        Path("corpus").write_bytes(as_corpus(kind, data))
        Path("odd.txt").write_bytes(data[:3000])
        run = RUNS / "odd"
        shutil.rmtree(run, ignore_errors=True)
        options = [*begin("odd", "--quiet", kind=kind, level=level, steps=1)]
        options[1] = "corpus"
        if "--vocab-size" in options:
            del options[options.index("--vocab-size") : options.index("--vocab-size") + 2]
        done = charlm(*options)
        worked += done.code == 0
        model = kind if done.code else "odd"
        for action, ended in (("train", done), ("use", charlm(*uses[kind], "--model", model))):
            problem = complaint(ended)
            wrong += [] if problem is None else [f"{action} {kind} {level} {name}: {problem}"]
            tally.add(problem is None)
    assert not wrong, "\n".join(wrong)
    assert worked > 15


@pytest.mark.row("T2")
def test_no_text_is_changed_by_what_is_said_of_it(here: Path, tally: Tally) -> None:
    """What fill, tag and classify give back is what they were given: each known character of a
    text with a gap, each token of a sentence, each line of a file, whatever Unicode it is.
    """
    rng = random.Random(8)
    odd = [chr(code) for code in (0, 9, 11, 13, 27, 0x7F, 0x85, 0xA0, 0x2028, 0x301, 0x345, 0xFEFF)]
    odd += [
        "\\",
        "[?",
        "]",
        "\\\\",
        "\u1100\u1161",
        "e\u0301",
        "\u202e",
        "👨‍👩‍👧",
        "￭",
        "\U0010fffd",
        "ß",
        "İ",
    ]
    odd += list("abc ")
    count = tally.wanted(300)
    texts = ["".join(rng.choices(odd, k=rng.randrange(12))) for _ in range(count // 3)]
    lm = load(RUNS / "bidirectional")
    for text in texts:
        escaped = text.replace("[?]", "\\[?]") if "\\[?]" not in text else "a"
        plain = escaped.replace("\\[?]", "[?]")
        for entry in lm.fill(f"{escaped} [?]{text[::-1].replace('?', '')}", top=2).entries:
            assert entry.text == f"{plain} {entry.gaps[0]}{text[::-1].replace('?', '')}"
        tally.add()
    whole = "\n".join(texts) + "\n"
    lines = re.split(r"\r*\n|\r(?!\r*\n)", whole)[:-1]  # a CR with no LF behind it ends one, too
    assert len(lines) > len(texts) == count // 3
    Path("lines.txt").write_text(whole, newline="")
    ended = charlm("classify", "--json", "--file", "lines.txt", "--model", "classifier")
    found = [json.loads(line)["text"] for line in ended.stdout.splitlines()]
    assert [line.removeprefix("\ufeff") for line in found[:1]] + found[1:] == [
        line.removeprefix("\ufeff") for line in lines[:1]
    ] + lines[1:]
    assert b"a CR alone ends a line here" in ended.stderr
    tally.add(len(texts))
    tokens = ["x" + "".join(char for char in line if not char.isspace()) for line in lines]
    Path("tokens.txt").write_text("\n".join(tokens) + "\n", newline="")
    ended = charlm("tag", "--model", "tagger", "tokens.txt")
    rows = [line.split("\t") for line in ended.out.split("\n")[:-1]]
    assert [token for token, _ in rows] == tokens
    assert {tag for _, tag in rows} <= {"O", "B-BEAST", "B-BIRD"}
    tally.add(len(texts))
