"""Laws of translators: toy languages are learned, and stopping changes nothing."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.errors import CheckpointError, UsageError
from charlm.models.translator import Translator
from charlm.training.task import Validated
from tests.support.cli import bad, good

WORDS = ["".join(letters) for n in (1, 2, 3) for letters in itertools.product("abcd", repeat=n)]
SMALL: dict[str, Any] = {"task": "translator", "hidden": 32, "embedding": 16, "seed": 3}
OF_PARTNER = ("partner.json", "ngram.safetensors")
COUNT = {"a": "1", "b": "2", "c": "3", "d": "4"}


def count(word: str) -> str:
    """Each letter as often as it stands for: targets are longer than sources."""
    return "".join(letter * int(COUNT[letter]) for letter in word)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", [str, lambda word: word[::-1], str.upper, count], ids=["copy", "reverse", "upper", "n"]
)
def test_toy_languages_are_learned_to_the_last_word(rule: Callable[[str], str]) -> None:
    """Words that training never saw are written right."""
    targets = [rule(word) for word in WORDS]
    model = charlm.train(
        texts=WORDS, labels=targets, steps=400, batch_size=16, learning_rate=0.005, **SMALL
    )
    assert isinstance(model, Translator)
    summary = model.evaluate(zip(WORDS, targets, strict=True))
    assert summary.rates.whole == 0
    assert summary.rates.symbols == 0
    assert model.checkpoint.info["best_accuracy"] == 1


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a translator that does with a word what a feature says."""
    folder = tmp_path_factory.mktemp("features")
    rules: dict[str, Callable[[str], str]] = {"UP": str.upper, "a": str, "b|PL": lambda w: w + "s"}
    lines = [f"{w}\t{rule(w)}\t{name}\n" for w in WORDS for name, rule in rules.items()]
    (folder / "forms.tsv").write_text("".join(lines), encoding="utf-8")
    options = {**SMALL, "steps": 300, "batch_size": 16, "learning_rate": 0.005}
    charlm.train(folder / "forms.tsv", **options, features_column="3", root=folder, name="forms")
    return folder


def test_features_say_what_is_written(forms: Path) -> None:
    """Of one source; a feature spelled like a letter is none, and answers are judged one by one."""
    model = charlm.load("forms", task="translator", root=forms)
    assert model.translate("abc", features="UP")[0].text == "ABC"
    assert model.translate("abc", features=["PL", "b"])[0].text == "abcs"
    assert model.translate(("abc", "a"))[0].text == "abc"
    pairs = [("ab\tUP", "AB"), (("ab", "a"), "ab"), (("ab", "PL;b"), "abs"), ("ab\tb|PL", "abs")]
    rates = model.evaluate(pairs).rates
    assert (rates.whole, rates.number) == (0, 3)
    assert model.score("ab\tUP", "AB").source_tokens == ("UP", "a", "b", "<EOS>")
    sides = model.checkpoint.info["text"]
    train, valid = (sides[side]["pairs"] for side in ("train", "valid"))
    assert train + valid == 3 * len(WORDS)
    assert valid % 3 == 0


def test_a_run_with_features_goes_on(forms: Path, tmp_path: Path) -> None:
    """Its file is read again as it was, features and all."""
    shutil.copytree(forms, tmp_path, dirs_exist_ok=True)
    again = charlm.resume("forms", steps=302, root=tmp_path)
    assert isinstance(again, Translator)
    assert again.translate("abc", features="UP")[0].text == "ABC"


def test_features_on_the_command_line(forms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For arguments as an option, in lines behind a tab; unseen ones are told and left out."""
    monkeypatch.setenv("CHARLM_RUNS", str(forms))
    assert good("translate", "ab", "c", "--features", "UP").out == "AB\nC\n"
    (forms / "lines").write_text("ab\tb|PL\nd\tUP\n", encoding="utf-8")
    found = good("translate", "--file", str(forms / "lines"), "--tsv").out.splitlines()
    assert [row.split("\t")[:3] for row in found] == [["ab", "b|PL", "abs"], ["d", "UP", "D"]]
    assert '"source": "ab", "features": "UP"' in good("translate", "ab\tUP", "--json").out
    ended = good("translate", "ab", "--features", "UP;DUAL")
    assert (ended.out, "left out: DUAL" in ended.err) == ("AB\n", True)
    assert "4 of them features" in good("info", "forms").out
    assert "tab" in bad(2, "translate", "ab\tUP", "--features", "UP")


def test_features_in_memory_and_in_the_other_direction(runs: Path) -> None:
    """Pairs of a text and its features; swapped, they go with what is read."""
    texts = [(word, "UP") for word in WORDS]
    model = charlm.train(
        texts=texts, labels=[w.upper() for w in WORDS], steps=2, swap=True, **SMALL
    )
    assert model.score(("ABC", "UP"), "abc").source_tokens == ("UP", *"ABC", "<EOS>")
    plain = charlm.load("upper", task="translator", root=runs)
    with pytest.raises(UsageError, match="features mean nothing to this model"):
        plain.translate("abc", features="UP")
    with pytest.raises(UsageError, match="source must be a text, got a list"):
        plain.translate(["abc", "d"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_attention_on_a_copy_is_the_diagonal() -> None:
    """At each token of the target the decoder looks most at the same place of the source."""
    model = charlm.train(
        texts=WORDS, labels=WORDS, steps=400, batch_size=16, learning_rate=0.005, **SMALL
    )
    hits = 0
    for word in WORDS:
        score = model.score(word, word)
        assert score.source_tokens == (*word, "<EOS>")
        looked = [np.argmax(token.attention) for token in score.tokens[:-1]]
        hits += looked == list(range(len(word)))
    assert hits > 0.9 * len(WORDS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a translator, trained from a file."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = "".join(f"{word}\t{' '.join(word.upper())}\n" for word in WORDS)
    (folder / "pairs.tsv").write_text(lines, encoding="utf-8")
    charlm.train(
        folder / "pairs.tsv",
        **SMALL,
        target_level="word",
        steps=400,
        batch_size=16,
        learning_rate=0.005,
        name="upper",
        root=folder,
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [{}, {"shared_vocabulary": True, "tie_weights": True}, {"ngram": 3}], ids=str
)
def test_stopped_and_resumed_is_uninterrupted(
    runs: Path, tmp_path: Path, shape: dict[str, Any]
) -> None:
    """All that the last step holds is that of a run that went through, n-grams and all."""
    options: dict[str, Any] = {**SMALL, "root": tmp_path, "min_count": 1, "steps": 40, **shape}
    charlm.train(runs / "pairs.tsv", **options, name="whole")

    def stop(event: object) -> None:
        if isinstance(event, Validated) and event.step > 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        charlm.train(runs / "pairs.tsv", **options, name="parted", on_event=stop)
    assert PairsCheckpoint.load(directory.find_any("parted", tmp_path)).step < 40
    charlm.resume("parted", root=tmp_path)
    once, again = (PairsCheckpoint.load(directory.find(n, tmp_path)) for n in ("whole", "parted"))
    assert once.step == again.step
    assert all(np.array_equal(once.weights[name], again.weights[name]) for name in once.weights)
    files = [
        {path.name: path.read_bytes() for path in one.path.iterdir() if path.name in OF_PARTNER}
        for one in (once, again)
    ]
    assert files[0] == files[1]
    assert len(files[0]) == (len(OF_PARTNER) if "ngram" in shape else 0)


def test_a_translator_is_what_it_was_when_loaded(runs: Path) -> None:
    """By its name or as the newest of its kind, and by no other task."""
    loaded = charlm.load("upper", task="translator", root=runs)
    assert isinstance(charlm.load(root=runs), Translator)
    assert loaded.translate("abc")[0].text == "A B C"
    for task in ("language-model", "classifier"):
        with pytest.raises(CheckpointError, match="translator"):
            charlm.load("upper", task=task, root=runs)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="beam must be 1 or more"):
        loaded.translate("abc", beam=0)


def test_a_translation_does_not_depend_on_what_stands_beside_it(runs: Path) -> None:
    """Alone or among others, and P(target | source) is what scoring gives."""
    loaded = charlm.load("upper", task="translator", root=runs)
    together = loaded.translate_all(WORDS, n_best=2)
    scores = loaded.score_all(
        (word, best[0].text) for word, best in zip(WORDS, together, strict=True)
    )
    for word, best, score in zip(WORDS[::9], together[::9], scores[::9], strict=True):
        (alone, _) = loaded.translate(word, n_best=2)
        assert alone.text == best[0].text
        assert alone.log_prob == pytest.approx(best[0].log_prob, abs=1e-5)
        assert score.total_log_prob == pytest.approx(best[0].log_prob, abs=1e-5)


def test_a_shared_vocabulary_is_one(runs: Path) -> None:
    """One tokenizer and one embedding for both sides; the vector of the beginning stays zero."""
    model = charlm.train(
        texts=[(word, "a") for word in WORDS],
        labels=[word.upper() for word in WORDS],
        steps=5,
        shared_vocabulary=True,
        tie_weights=True,
        **SMALL,
    )
    checkpoint, both = model.checkpoint, "abcdABCD"
    of_source, of_target = checkpoint.source_tokenizer, checkpoint.tokenizer
    assert of_source.encode(both).tolist() == of_target.encode(both).tolist()
    assert 0 not in of_target.encode(both)
    assert of_source.vocab_size == of_target.vocab_size + 1
    assert len(checkpoint.weights["source_embedding.weight"]) == 1
    assert (checkpoint.weights["embedding.weight"][-1] == 0).all()
    asked = {"texts": WORDS, "labels": WORDS, "shared_vocabulary": True}
    with pytest.raises(UsageError, match="target_level is that of sources"):
        charlm.train(**asked, **SMALL, level="char", target_level="word", steps=1)


@pytest.fixture(scope="module")
def greetings() -> Translator:
    """A translator of words: names that came once are <UNK>, the others teach where to look."""
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice([*"aeioulmnrst"], 6)).title() for _ in range(150)]
    names += [name for name in names[:30] for _ in range(15)]
    rng.shuffle(names)
    pairs = zip(names[::2], names[1::2], strict=True)
    sources, targets = zip(*(greeting(*pair) for pair in pairs), strict=True)
    options = {**SMALL, "level": "word", "steps": 300, "batch_size": 16, "learning_rate": 0.01}
    return charlm.train(texts=sources, labels=targets, **options)


def greeting(one: str, other: str) -> tuple[str, str]:
    """A sentence of two names, and one that has them in another order."""
    return f"hello {one}, here is {other}", f"{other} greets my friend {one}"


def test_names_that_training_never_saw_are_copied(greetings: Translator) -> None:
    """Each to its place; log P is that of what the network wrote, and <UNK> only comes so."""
    pairs = [greeting(one, other) for one in ("Zork", "Ada") for other in ("Quux", "Björk")]
    for source, target in pairs:
        (found,) = greetings.translate(source, copy=True)
        assert found.text == target
        assert found.log_prob == pytest.approx(
            greetings.score(source, target).total_log_prob, abs=1e-5
        )
        (plain,) = greetings.translate(source)
        assert not {"Zork", "Ada", "Quux", "Björk", "\ufffd"} & set(plain.text.split())
    sources = [source for source, _ in pairs]
    several = greetings.translate_all(sources, copy=True, n_best=2)
    assert [best[0].text for best in several] == [target for _, target in pairs]


def test_characters_that_training_never_saw_are_copied() -> None:
    """At character level, too; learned from those that came once."""
    rare = [chr(0x4E00 + at) for at in range(len(WORDS))]
    texts = [f"{word}{char}" for word, char in zip(WORDS, rare, strict=True)]
    options = {**SMALL, "steps": 200, "batch_size": 16, "learning_rate": 0.01}
    model = charlm.train(texts=texts, labels=[text[::-1] for text in texts], **options)
    assert model.translate("abcΩ", copy=True)[0].text == "Ωcba"


def test_copying_needs_attention(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And something that can be unknown."""
    asked = {"texts": WORDS, "labels": WORDS, "steps": 1}
    model = charlm.train(**asked, **SMALL, attention="none")
    with pytest.raises(UsageError, match="copy needs attention"):
        model.translate("a", copy=True)
    pieces = charlm.train(**asked, **SMALL, level="subword", vocab_size=265)
    with pytest.raises(UsageError, match="copy means nothing where targets are subwords"):
        pieces.translate("a", copy=True)
    monkeypatch.setenv("CHARLM_RUNS", str(runs))
    assert good("translate", "--model", "upper", "ab", "--copy").out == "A B\n"


def test_the_reverse_direction_is_an_option(runs: Path, tmp_path: Path) -> None:
    """With swap, targets are read and sources written."""
    model = charlm.train(
        runs / "pairs.tsv", **SMALL, swap=True, level="word", target_level="char", steps=5
    )
    assert model.checkpoint.source_tokenizer.level == "word"
    assert model.checkpoint.tokenizer.level == "char"


def test_the_command_line_trains_and_translates(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train --pairs, translate in all its forms, list, info; unseen symbols are told."""
    monkeypatch.chdir(tmp_path)
    told = good("train", str(runs / "pairs.tsv"), "--pairs", "--steps", "3", "--hidden", "8")
    assert "best validation accuracy" in told.out
    monkeypatch.setenv("CHARLM_RUNS", str(runs))
    assert good("translate", "abc", "d").out == "A B C\nD\n"
    assert good("translate", "--greedy", "ab").out == "A B\n"
    row = good("translate", "ab", "--tsv", "--n-best", "2").out.splitlines()[0].split("\t")
    assert row[:2] == ["ab", "A B"]
    assert float(row[2]) < 0
    assert '"text": "A B"' in good("translate", "ab", "--json").out
    drawn = good("translate", "abc", "--attention").out.splitlines()
    assert drawn[0] == "A B C"
    assert len(drawn) == 1 + 1 + 4
    ended = good("translate", "xab")
    assert "symbols that training never saw, read as <UNK>: x" in ended.err
    assert "translator" in good("list").out
    assert "additive" in good("info", "upper").out
    assert "name that with --source" in bad(2, "score", "--model", "upper", "a")
    assert "do not go together" in bad(2, "translate", "ab", "--json", "--attention")


def test_joint_ngrams_are_trained_along_mixed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write what a network of few steps cannot; alone it is as it was without them."""
    (tmp_path / "pairs.tsv").write_text("".join(f"{w}\t{w.upper()}\n" for w in WORDS))
    options = {**SMALL, "steps": 2, "root": tmp_path}
    mixed = charlm.train(tmp_path / "pairs.tsv", ngram=3, name="mixed", **options)
    plain = charlm.train(tmp_path / "pairs.tsv", name="plain", **options)
    assert isinstance(mixed, Translator)
    assert isinstance(plain, Translator)
    assert mixed.translate("abcd")[0].text == "ABCD"
    assert mixed.partner is not None
    assert 0.9 < mixed.partner.share <= 1
    alone = charlm.load("mixed", task="translator", alone=True, root=tmp_path)
    assert alone.score("ab", "AB") == plain.score("ab", "AB")
    (one,), total = mixed.translate("ab"), mixed.score("ab", "AB").total_log_prob
    assert one.log_prob == pytest.approx(total)
    assert mixed.ngram_only().score("ab", "AB").total_log_prob == pytest.approx(total, abs=0.1)
    assert np.isneginf(mixed.ngram_only().score("a", "ABCDE").total_log_prob)
    with pytest.raises(UsageError, match="no n-grams"):
        plain.ngram_only()
    again = charlm.resume("mixed", steps=4, root=tmp_path)
    assert isinstance(again, Translator)
    assert again.partner is not None
    assert again.translate("dcb")[0].text == "DCB"
    monkeypatch.setenv("CHARLM_RUNS", str(tmp_path))
    assert good("translate", "--model", "mixed", "abcd", "--ngram-only").out == "ABCD\n"
    assert "no n-grams" in bad(2, "translate", "--model", "plain", "abcd", "--ngram-only")
    assert "joint n-grams (up to 3)" in good("info", "mixed").out
    evaluate = ("evaluate", "--model", "mixed", str(tmp_path / "pairs.tsv"), "--json")
    ways = ((), ("--alone",), ("--ngram-only",))
    both, network, counts = (json.loads(good(*evaluate, *way).out) for way in ways)
    assert both["accuracy"] > 0.9 > network["accuracy"]
    assert counts["accuracy"] > 0.9
    (scored,) = good(
        "score", "--model", "mixed", "--source", "ab", "AB", "--ngram-only", "--json"
    ).out.splitlines()
    told = mixed.ngram_only().score("ab", "AB").total_log_prob
    assert json.loads(scored)["total_log_prob_nats"] == pytest.approx(told)
    assert sum(token.log_prob for token in mixed.score("ab", "AB").tokens) == pytest.approx(total)
