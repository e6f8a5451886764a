"""charlm sample: what is drawn, and in which form."""

import re
from pathlib import Path

import pytest

from charlm.config import LEVELS
from charlm.inference.stream import held_back
from tests.support.cli import TINY, bad, charlm, good, lines_of_json


def test_n_is_the_number_of_sequences(here: Path) -> None:
    """`--n 300` means 300 sequences, a line each, whatever the batch size."""
    same = ("--max-tokens", "8", "--model", "char", "--seed", "0")
    whole = good("sample", "--n", "300", *same).out
    assert whole.count("\n") == 300
    for size in ("1", "7", "300"):
        options = (*same, "--batch-size", size)
        assert good("sample", "-n", "20", *options).out == "".join(whole.splitlines(True)[:20])


def test_the_same_seed_gives_the_same_text(here: Path) -> None:
    """What is drawn with a seed is drawn again with it, and another draws something else."""
    assert good("sample", "--seed", "7").out == good("sample", "--seed", "7").out
    assert good("sample", "--seed", "7").out != good("sample", "--seed", "1").out


@pytest.mark.parametrize("form", [[], ["--stream"], ["--json"], ["--report"], ["-0"]])
def test_without_a_seed_each_call_draws_another_and_tells_it(here: Path, form: list[str]) -> None:
    """With the seed that stderr names, and JSON holds, the same text comes, in every form."""
    options = ("sample", "--model", "char", "-n", "3", "--max-tokens", "20", *form)
    seeds, texts = set(), set()
    for _ in range(3):
        drawn = good(*options)
        said = re.match(r"seed: (\d+); --seed \1 gives the same text\n", drawn.err)
        assert said is not None
        again = good(*options, "--seed", said[1])
        assert again.out == drawn.out
        assert again.err == drawn.err.removeprefix(said[0])
        if form == ["--json"]:
            assert {line["seed"] for line in lines_of_json(drawn.out)} == {int(said[1])}
        seeds.add(said[1])
        texts.add(drawn.out)
    assert len(seeds) == 3
    assert len(texts) > 1


def test_the_model_that_was_taken_is_named_on_stderr(here: Path) -> None:
    """Where no model is named, the newest finished run is taken and stderr says which."""
    result = good("sample", "--seed", "0")
    assert result.err == "model: trained (step 60)\n"
    named = good("sample", "--model", "trained", "--seed", "0")
    assert (named.out, named.err) == (result.out, "")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "prompt",
    ["the", "the ", " ", "the bear\n\nsees", "Ünseen ☃", "\r\n", "a\tb", "▁", "<EOS>", "😀"],
)
def test_a_prompt_begins_the_text(here: Path, level: str, prompt: str) -> None:
    """The prompt comes out as it went in, whatever is in it, from all three ways to give it.

    But what ends a line in a pipe, as in a file, is read as LF.
    """
    options = ("sample", "--model", level, "--max-tokens", "4", "--json", "--seed", "0")
    (drawn,) = lines_of_json(good(*options, "--prompt", prompt).out)
    assert drawn["text"].startswith(prompt)
    assert good(*options, "--prime", prompt).out == good(*options, "--prompt", prompt).out
    (piped,) = lines_of_json(good(*options, "--prompt", "-", stdin=f"{prompt}\n".encode()).out)
    lf = prompt.replace("\r\n", "\n")
    assert piped == lines_of_json(good(*options, "--prompt", lf).out)[0]


def test_a_prompt_from_a_file(here: Path, tmp_path: Path) -> None:
    """A file's newlines belong to the prompt, but for the last; two prompts are refused."""
    (tmp_path / "prompt").write_text("the\nbear\n")
    options = ("sample", "--model", "char", "--max-tokens", "4", "--seed", "0")
    from_file = good(*options, "--prompt-file", str(tmp_path / "prompt")).out
    assert from_file == good(*options, "--prompt", "the\nbear").out
    assert "not both" in bad(2, *options, "--prompt", "a", "--prompt-file", "b")
    assert "cannot read nowhere" in bad(3, *options, "--prompt-file", "nowhere")


def test_a_prompt_that_is_no_text_is_refused(here: Path) -> None:
    """Lone bytes in a prompt end with 3, and no option is named that sample does not have."""
    for complaint in (
        bad(3, "sample", "--prompt", "a\udcff"),
        bad(3, "sample", "--prompt", "-", stdin=b"a\xff"),
    ):
        assert "UTF-8" in complaint
        assert "--e" not in complaint


def test_stop_strings_end_a_text_and_are_not_part_of_it(here: Path) -> None:
    """A text ends before the first of the stop strings."""
    options = ("sample", "--n", "30", "--json", "--seed", "0")
    plain = lines_of_json(good(*options).out)
    stopped = lines_of_json(good(*options, "--stop", "e", "--stop", "th").out)
    for before, after in zip(plain, stopped, strict=True):
        assert after["text"] == re.split("e|th", before["text"])[0]
        assert after["ended"] == ("stop" if re.search("e|th", before["text"]) else "eos")
    assert "must not be empty" in bad(2, "sample", "--stop", "")


def test_temperature_zero_is_greedy(here: Path) -> None:
    """Temperature 0 and top-k 1 give the likeliest text, whatever the seed."""
    options = ("sample", "--max-tokens", "30")
    texts = {
        good(*options, *more, "--seed", str(seed)).out
        for more in (("--temperature", "0"), ("--top-k", "1"), ("--top-p", "1e-6"))
        for seed in range(2)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--top-k", "0"],
        ["--top-p", "0"],
        ["--top-p", "1.5"],
        ["--max-tokens", "0"],
        ["--seed", "-1"],
        ["--stream", "--json"],
        ["--stream", "--novel"],
    ],
)
def test_sampling_options_out_of_range_are_refused(here: Path, options: list[str]) -> None:
    """A wrong sampling option ends with 2 and a sentence."""
    bad(2, "sample", *options)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stops", [[], ["a"], ["e "], ["the", "\ufffd"]])
def test_a_stream_is_the_same_text(here: Path, level: str, stops: list[str]) -> None:
    """--stream writes what is written without it, also over byte pieces and stop strings."""
    options = ["sample", "--model", level, "-n", "4", "--max-tokens", "60", "--prompt", "the é"]
    options += ["--seed", "0"]
    for stop in stops:
        options += ["--stop", stop]
    assert good(*options, "--stream").out == good(*options).out


def test_held_back_is_what_could_become_a_stop_string() -> None:
    """Nothing of a stop string is written before it is known not to be one."""
    for text, stop, held in (
        ("abc", "cd", 1),
        ("abc", "d", 0),
        ("abcd", "cd", 2),
        ("xcdy", "cd", 3),
        ("aaa", "aab", 2),
        ("", "a", 0),
    ):
        assert held_back(text, stop) == held


def test_samples_as_json_tell_all_that_is_known(here: Path) -> None:
    """The keys are stable, the log-probability is that of score, novelty is the truth."""
    options = ("--json", "--temperature", "0.3", "--seed", "0")
    drawn = lines_of_json(good("sample", "-n", "40", *options).out)
    keys = ["text", "total_log_prob_nats", "tokens", "unknown_tokens", "ended", "in_training_text"]
    assert all(list(line) == [*keys, "seed"] for line in drawn)
    texts = [line["text"] for line in drawn]
    scored = lines_of_json(good("score", "--json", stdin="\n".join(texts).encode() + b"\n").out)
    for line, score in zip(drawn, scored, strict=True):
        if line["ended"] == "eos":
            assert line["total_log_prob_nats"] == pytest.approx(
                score["total_log_prob_nats"], abs=1e-3
            )


def test_unknown_words_are_drawn_again_invented_or_kept(here: Path) -> None:
    """--unk says what becomes of <UNK>; JSON counts it; a stream is the same text."""
    plain = ("sample", "-n", "6", "--model", "word", "--max-tokens", "40", "--prompt", "the bear ")
    options = (*plain, "--temperature", "3", "--seed", "0")
    again = lines_of_json(good(*options, "--json").out)
    assert {line["unknown_tokens"] for line in again} == {0}
    assert good(*options, "--unk", "resample", "--json").out == good(*options, "--json").out
    kept, spelled = (
        lines_of_json(good(*options, "--unk", unk, "--json").out) for unk in ("keep", "spell")
    )
    assert sum(line["unknown_tokens"] for line in kept) > 3
    for one, other in zip(kept, spelled, strict=True):
        assert one["text"].count("\ufffd") == one["unknown_tokens"] == other["unknown_tokens"]
        assert "\ufffd" not in other["text"]
        assert other["total_log_prob_nats"] <= one["total_log_prob_nats"]
    for unk in ("keep", "spell"):
        stream = good(*options, "--unk", unk, "--stream", "--stop", "pear").out
        assert stream == good(*options, "--unk", unk, "--stop", "pear").out
    assert "--unk must be" in bad(2, "sample", "--unk", "what")
    for more in ([], ["--stream"]):
        result = charlm("sample", "--model", "char", "--unk", "spell", "--prompt", "the", *more)
        assert (result.code, result.out) == (2, "")
        assert "character model" in result.err


def test_novel_texts_are_not_in_the_training_text(empty: Path) -> None:
    """--novel draws again what stands in the training text, and gives up in a sentence."""
    (empty / "two.txt").write_text("a\nb\n" * 40)
    good("train", "two.txt", "--steps", "150", "--hidden", "16", "--learning-rate", "0.02")
    drawn = lines_of_json(good("sample", "-n", "50", "--json", "--seed", "0").out)
    assert any(line["in_training_text"] for line in drawn)
    try_again = charlm("sample", "-n", "5", "--novel", "--json", "--temperature", "3")
    assert not any(line["in_training_text"] for line in lines_of_json(try_again.out))
    assert "by heart" in bad(1, "sample", "--novel", "--temperature", "0")
    good("train", "two.txt", *TINY, "--split-on", "file")
    assert "whole files" in bad(2, "sample", "--novel")
