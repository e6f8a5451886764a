"""Laws of options that depend on each other: refused at once, both named, and none forgotten."""

import itertools
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import app
from charlm.cli.input.option_rules import Apart, Needs, Rules, check, shown
from charlm.errors import UsageError
from tests.support.cli import charlm
from tests.support.matrix import Tally

COMMANDS: dict[str, Any] = {name: app.subcommand(name) for name in (*app.COMMANDS, *app.VIEWS)}

COLUMNS = "--source-column --target-column --features-column"
FIELDS = "--source-field --target-field --features-field"

# Of each command: options that mean nothing without one of others.
NEED = {
    "train": [
        ("--classifier --task=classifier", "--label-from --resume"),
        ("--pooling", "--classifier --task=classifier --resume"),
        ("--text-column", "--label-from=column:* --resume"),
        ("--header", "--label-from=column:* --pairs --task=translator --resume"),
        ("--token-column --tag-column", "--tagger --task=tagger --resume"),
        (
            "--source-column --target-column --source-field --target-field --swap",
            "--pairs --task=translator --resume",
        ),
        (
            "--target-level --shared-vocabulary --attention --features-column --features-field",
            "--pairs --task=translator --resume",
        ),
        ("--lowercase --pretokenized", "--level=word --target-level=word --resume"),
        ("--subword-model", "--level=subword --target-level=subword --resume"),
        ("--counts-only", "--ngram"),
    ],
    "sample": [("--weights --by-character", "--model=--model"), ("--features", "--source")],
    "score": [
        ("--weights --by-character", "--model=--model"),
        ("--field", "--jsonl"),
        ("--header --csv", f"--column --nbest {COLUMNS}"),
        ("--features", "--source"),
        (
            "--prefix",
            f"--json --tsv --jsonl --column --csv --nbest {COLUMNS} {FIELDS}",
        ),
        ("--weight --best --kaldi --tune-weight", "--nbest"),
        ("--region-column", "--column"),
        ("--bucket-to", "--bucket --bounds"),
        ("--invert", "--min-perplexity --max-perplexity --min-bits --max-bits --keep-best"),
    ],
    "evaluate": [
        ("--weights --by-character", "--model=--model"),
        ("--split-on --encoding --errors --jobs", "FILES"),
        ("--rate", "--dynamic"),
        ("--text-column", "--labelled=column:*"),
        ("--header", f"--labelled=column:* {COLUMNS}"),
        ("--text-field", "--labelled=field:*"),
    ],
    "compare": [("--header", COLUMNS)],
    "classify": [
        ("--field", "--jsonl"),
        ("--csv", "--column"),
        ("--header", "--column --labelled=column:*"),
        ("--prefix", "--json --tsv --jsonl --column"),
        ("--text-column", "--labelled=column:*"),
        ("--text-field", "--labelled=field:*"),
        ("--file=--file", "--labelled"),
    ],
    "novelty": [("--field", "--jsonl")],
    "next": [("--weights --by-character", "--model=--model")],
}

PRINTED = (("--json", "--tsv"), ("--html", "--json --tsv"))
DRAWN = (*PRINTED, ("--svg", "--json --tsv"))

# Of each command: options that contradict others.
CONTRADICT = {
    "train": [
        ("CORPUS", "--demo"),
        ("--classifier", "--tagger --pairs"),
        ("--tagger", "--pairs"),
        ("--bidirectional", "--classifier --tagger --pairs"),
        ("--task", "--bidirectional --classifier --tagger --pairs"),
        (
            "--classifier --task=classifier --tagger --task=tagger --bidirectional --task=cloze",
            "--source-column --target-column --source-field --target-field --swap --target-level",
        ),
        (
            "--classifier --task=classifier --tagger --task=tagger --bidirectional --task=cloze",
            "--shared-vocabulary --attention --features-column --features-field",
        ),
        (
            "--classifier --task=classifier --tagger --task=tagger --bidirectional --task=cloze",
            "--smoothing",
        ),
        ("--pairs --task=translator --counts-only --store", "--smoothing"),
        (
            "--task=language-model",
            "--source-column --target-column --source-field --target-field --swap --target-level",
        ),
        (
            "--task=language-model",
            "--shared-vocabulary --attention --features-column --features-field",
        ),
        (
            "--pairs --task=translator",
            "--cache --adaptive --normalize --bptt-length --no-index --label-from",
        ),
        (
            "--pairs --task=translator",
            "--text-column --text-field --token-column --tag-column --split-on --pooling",
        ),
        ("--time", "--epochs --steps"),
        ("--epochs", "--steps"),
        ("--valid", "--valid-share"),
        ("--patience", "--valid-share=0.0"),
        ("--min-count", "--level=subword"),
        (
            "--classifier --task=classifier --tagger --task=tagger",
            "--ngram --cache --adaptive --counts-only --normalize --tie-weights --no-index",
        ),
        (
            "--classifier --task=classifier --tagger --task=tagger",
            "--bptt-length",
        ),
        (
            "--counts-only",
            "--resume --cell --layers --hidden --embedding --output-layers --dropout --epochs",
        ),
        (
            "--counts-only",
            "--input-dropout --tie-weights --time --steps --batch-size --bptt-length --precision",
        ),
        (
            "--counts-only",
            "--learning-rate --weight-decay --max-grad-norm --patience --on-nan --device --store",
        ),
        (
            "--counts-only",
            "--adaptive --label-from --bidirectional --task=cloze --pairs --task=translator",
        ),
        ("--counts-only", "--log-to"),
        (
            "--tagger --task=tagger",
            "--label-from --text-column --text-field --header --split-on --distinct --level=char",
        ),
        (
            "--tagger --task=tagger",
            "--lowercase --pretokenized --subword-model --pooling --level=subword",
        ),
        (
            "--bidirectional --task=cloze",
            "--ngram --cache --adaptive --pooling --label-from --text-column --text-field --header",
        ),
        ("--bidirectional --task=cloze", "--token-column --tag-column"),
        ("--classifier --task=classifier --task=language-model", "--token-column --tag-column"),
        ("--task=language-model", "--pooling"),
        ("--split-on", "--label-from=column:* --label-from=field:* --text-field"),
        ("--store", "--bidirectional --task=cloze --classifier --task=classifier"),
        ("--store", "--tagger --task=tagger --pairs --task=translator"),
    ],
    "sample": [
        ("--weights", "--tune"),
        ("--adapt", "--alone --tune --label"),
        ("--prompt", "--prompt-file"),
        ("--json", "--null"),
        ("--stream", "--json --novel --batch-size"),
    ],
    "score": [
        ("--weights", "--tune"),
        ("--adapt", "--alone --tune --label"),
        ("--alone", "--ngram-only"),
        (
            "TEXTS",
            "--file --encoding --errors --on-error --jsonl --column --csv --nbest --null --jobs",
        ),
        ("TEXTS --source", f"{COLUMNS} {FIELDS}"),
        ("--source", "--file"),
        (f"{COLUMNS} {FIELDS}", "--jsonl --column --nbest"),
        ("TEXTS", "--split-on"),
        ("--split-on", "--null"),
        ("--split-on --null", "--jsonl --column --csv --nbest"),
        ("--on-error", "--split-on=paragraph --split-on=file"),
        ("--json", "--tsv --jsonl --column"),
        ("--tsv", "--jsonl --column"),
        ("--column", "--jsonl --nbest"),
        ("--jsonl", "--csv"),
        ("--bucket --bounds", "TEXTS --source --nbest --json --tsv --per-token --words"),
        ("--bucket --bounds", "--heatmap --html --attention"),
        ("--bucket --bounds --nbest --keep-best", "--min-perplexity --max-perplexity"),
        ("--bucket --bounds --nbest --keep-best", "--min-bits --max-bits"),
        ("--bucket --bounds --nbest", "--keep-best --histogram"),
        ("--keep-best --histogram", f"TEXTS --source {COLUMNS} {FIELDS}"),
        ("--kaldi", "--jsonl --csv --header"),
        ("--region-column", "--per-token"),
        ("--weight", "--tune-weight"),
        ("--heatmap --html --attention", "--json --tsv --per-token --jsonl --column --csv --nbest"),
        ("--heatmap", "--unit"),
        ("--per-token", "--words"),
        ("--per-token --words", "--nbest"),
        ("--min-perplexity", "--max-perplexity"),
        ("--min-bits", "--max-bits"),
        ("--jobs", "--adapt=file"),
    ],
    "evaluate": [
        ("--weights", "--tune"),
        ("--adapt", "--alone --tune --label"),
        ("--alone", "--ngram-only"),
        ("--json", "--format=table --format=kenlm"),
        ("--check", "--closed --dynamic --format=kenlm --unit --labelled"),
        ("--jobs", "--check --dynamic"),
        ("--dynamic --adapt", "--format=kenlm --labelled"),
        ("--adapt", "--jobs --check"),
        ("--dynamic", "--adapt=frozen --adapt=sequence"),
        ("--unit", "--format=kenlm"),
        ("--labelled", "--label"),
        ("--beam", "--greedy"),
        ("--split-on", "--labelled=column:* --labelled=field:*"),
    ],
    "compare": [("--beam", "--greedy")],
    "classify": [
        ("TEXTS", "--file --encoding --errors --on-error --jsonl --column --split-on --null"),
        ("--split-on", "--null"),
        ("--split-on --null", "--jsonl --column"),
        ("--on-error", "--split-on=paragraph --split-on=file"),
        ("--json", "--tsv --jsonl --column"),
        ("--jsonl", "--tsv --column"),
        ("--tsv", "--column"),
        ("--labelled", "TEXTS --jsonl --column --top --prefix --on-error --split-on --null"),
    ],
    "novelty": [
        ("--json", "--per-sample"),
        ("--show", "--per-sample"),
        ("--jsonl", "--null"),
        ("--split-on", "--jsonl --null"),
    ],
    "fill": [
        ("TEXTS", "--file --encoding --errors --split-on --null"),
        ("--split-on", "--null"),
        ("--json", "--tsv"),
    ],
    "info": [("NAME", "--model"), ("--json", "--card")],
    "export": [("NAME", "--model"), ("--arpa", "--onnx --hf"), ("--onnx", "--hf")],
    "translate": [
        ("TEXTS", "--file --encoding --errors"),
        ("--json", "--tsv"),
        ("--beam", "--greedy"),
        ("--alone", "--ngram-only"),
        ("--attention --html", "--json --tsv"),
    ],
    "tag": [("--raw", "--evaluate --token-column --tag-column")],
    "next": [
        ("--weights", "--tune"),
        ("--adapt", "--alone --tune --label"),
        ("PREFIX", "--file"),
        ("--top", "--all"),
        ("--json", "--tsv"),
    ],
    "serve": [("--api-key", "--no-key")],
    "inspect gates": [("TEXTS", "--file --encoding --errors --split-on"), *DRAWN],
    "inspect context": [("TEXTS", "--file --encoding --errors --split-on"), *DRAWN],
    "inspect units": [
        ("TEXTS", "--file --encoding --errors --split-on"),
        *PRINTED,
        ("--unit", "--span --feature --top --state --layer"),
        ("--span", "--feature"),
    ],
    "inspect gradient": [*DRAWN],
    "inspect pairs": [*DRAWN],
    "inspect embedding": [*DRAWN],
    "curves": [*DRAWN],
}

EVERYWHERE = {"--runs"}  # an option that goes with everything

# Of each command: what goes with everything. A new option belongs here or into a table above.
FREE = {
    "train": "--errors --name --vocab-size --encoding --seed --quiet",
    "sample": "--n --max-tokens --temperature --top-k --top-p --stop --report --seed --unk",
    "score": "--context --closed",
    "evaluate": f"{FIELDS} --max-tokens --length-penalty --bleu",
    "compare": "ONE OTHER FILES --errors --closed --adapt --show --fail-above --resamples --seed "
    f"--encoding --json {FIELDS} --max-tokens --length-penalty",
    "classify": "--model --alone",
    "novelty": "FILES --model --against --prompt --ngrams --word-ngrams --fail-above "
    "--encoding --errors",
    "fill": "--top --model --unk --unit",
    "next": "--unit",
    "tag": "FILE --errors --model --json --encoding",
    "translate": "--n-best --max-tokens --length-penalty --copy --features --model",
    "serve": "--model --alone --host --port --allowed-hosts --cors --max-prompt --max-tokens "
    "--max-n --max-body --max-batch --max-queue --timeout --threads --log",
    "export": "",
    "tokenize": "TEXT --model --json --target",
    "info": "",
    "import": "--arpa --name",
    "list": "--json",
    "rm": "NAMES --yes",
    "help": "COMMAND",
    "curves": "RUNS --what --against",
    "inspect": "",
    "inspect gates": "--layer --model --label",
    "inspect gradient": "MODELS --distances --positions --seed --file --split-on --encoding "
    "--errors",
    "inspect context": "--beyond --lengths --positions --seed --model --label",
    "inspect units": "--model --label",
    "inspect pairs": "FILE --show --nbest --encoding --errors --model --label",
    "inspect embedding": "TEXT --top --model",
}

# A value that an option takes, where 1 is none.
VALUES = {
    "--demo": "prose",
    "--label-from": "file",
    "--labelled": "file",
    "--level": "word",
    "--task": "cloze",
    "--split-on": "line",
    "--unit": "bits",
    "--errors": "replace",
    "--encoding": "latin-1",
    "--on-error": "keep",
    "--unk": "keep",
    "--cell": "gru",
    "--log-to": "tensorboard",
    "--precision": "fp32",
    "--device": "cpu",
    "--on-nan": "skip",
    "--pooling": "last",
    "--target-level": "word",
    "--attention": "none",
    "--subword-model": "bpe",
    "--normalize": "NFC",
    "--format": "json",
    "--min-perplexity": "9",
    "--max-perplexity": "2",
    "--min-bits": "9",
    "--max-bits": "2",
    "--state": "h",
    "--beyond": "cut",
    "--adapt": "frozen",
}


def rules_of(command: str) -> Rules:
    """The rules that a command is declared with."""
    return getattr(app.module_of(command), "RULES", ())


def term(written: str) -> str:
    """A term of the tables as the rules have it."""
    return written.replace("=", " ", 1)


def pairs(table: dict[str, list[tuple[str, str]]], command: str) -> Iterator[tuple[str, str]]:
    """The pairs of terms of a command's table."""
    for ones, others in table.get(command, ()):
        for one, other in itertools.product(ones.split(), others.split()):
            yield term(one), term(other)


def names(parameter: Any) -> list[str]:
    """The names of a parameter as terms have them."""
    if parameter.param_type_name == "argument":
        return [parameter.name.upper()]
    return list(parameter.opts)


def given(command: str, *terms: str) -> list[str]:
    """A command line with what the terms name."""
    arguments = []
    for one in terms:
        name, _, wanted = one.partition(" ")
        parameters = COMMANDS[command].params
        (parameter,) = (one for one in parameters if name in names(one))
        value = wanted.replace("*", "1") or VALUES.get(name, "1")
        if not name.startswith("-"):
            arguments.append("x")
        elif getattr(parameter, "is_flag", False):
            arguments.append(name)
        elif wanted == name:
            arguments += [name, "1", name, "1"]
        else:
            arguments += [name, value]
    return arguments


def needed(command: str, arguments: list[str]) -> list[str]:
    """The arguments that a command is not without."""
    if command == "novelty":
        return [*arguments, "samples.txt"]
    if command in ("inspect pairs", "inspect embedding"):
        return [*arguments, "x"]
    if command == "compare":
        return [*arguments, "one", "other", "held-out.txt"]
    return arguments


ALL = [
    (command, kind, *pair)
    for kind, table in (("need", NEED), ("contradict", CONTRADICT))
    for command in table
    for pair in pairs(table, command)
]


@pytest.mark.row("I2")
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """With exit 2 and a sentence that names both, before any model or text is looked for.

    In either order, and beside an option that has nothing to do with them.
    """
    monkeypatch.chdir(tmp_path)  # where there is none: loading one would end with 4
    cases = itertools.cycle(ALL)
    for number in range(tally.wanted(len(ALL))):
        command, kind, *pair = next(cases)
        terms = pair[:1] if kind == "need" else pair
        terms = terms[::-1] if number // len(ALL) % 2 else terms
        beside = (
            ["--runs", "x"]
            if number // len(ALL) % 3 == 1 and command not in ("info", "export")
            else []
        )
        ended = charlm(*command.split(), *beside, *needed(command, given(command, *terms)))
        said = ended.err
        assert ended.code == 2, (command, pair, said)
        assert said.startswith("charlm: error: ")
        assert said.count("\n") == 1
        assert all(shown(one) in said for one in pair), (command, pair, said)
        tally.add()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_tables_are_the_rules(command: str) -> None:
    """Each rule stands in a table of this file, and each pair of the tables in a rule."""
    rules = rules_of(command)
    needs = {pair for rule in rules if isinstance(rule, Needs) for pair in rule.pairs()}
    assert needs == set(pairs(NEED, command))
    others = [rule for rule in rules if not isinstance(rule, Needs)]
    apart = {frozenset(pair) for rule in others for pair in rule.pairs()}
    assert apart == {frozenset(pair) for pair in pairs(CONTRADICT, command)}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_forgotten(command: str) -> None:
    """Each option of each command goes with everything, or stands in a table."""
    options = {name for parameter in COMMANDS[command].params for name in names(parameter)}
    free = set(FREE[command].split()) | EVERYWHERE & options
    tied = {
        one.partition(" ")[0]
        for table in (NEED, CONTRADICT)
        for pair in pairs(table, command)
        for one in pair
    }
    assert not free & tied
    known = set()
    for parameter in COMMANDS[command].params:
        if parameter.name != "help":
            assert (free | tied) & set(names(parameter)), f"{command}: {names(parameter)}"
            known.update(names(parameter))
    assert free | tied <= known


FLOATS = [
    (name, names(parameter)[0])
    for name, command in COMMANDS.items()
    for parameter in command.params
    if float in typing.get_args(typing.get_type_hints(command.callback).get(parameter.name) | None)
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("command", "option"), FLOATS)
def test_numbers_are_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, value: str
) -> None:
    """No option takes what is not a number, or what is without end."""
    monkeypatch.chdir(tmp_path)
    before = {"compare": ["a", "b", "x"], "novelty": ["x"], "train": ["x"], "evaluate": ["x"]}
    ended = charlm(*command.split(), *before.get(command, []), f"{option}={value}")
    assert ended.code == 2
    assert f"{option} must be a number that is finite, got {value}." in ended.err


def test_all_numbers_are_there() -> None:
    """The test above has something to test."""
    found = {option for _, option in FLOATS}
    assert {"--weight", "--max-bits", "--fail-above", "--temperature", "--dropout"} <= found


def parsed(*arguments: str) -> None:
    """A command line as it is checked. Raises UsageError."""
    context = COMMANDS[arguments[0]].make_context(arguments[0], list(arguments[1:]))
    check(context, rules_of(arguments[0]))


@pytest.mark.parametrize(
    ("command", "one", "other"),
    [(command, *pair) for command in NEED for pair in pairs(NEED, command)],
)
def test_an_option_goes_with_what_it_needs(command: str, one: str, other: str) -> None:
    """Beside any of the options that it needs, it is not said to need one."""
    try:
        parsed(command, *needed(command, given(command, one, other)))
    except UsageError as error:
        assert "goes with" not in str(error) or f"{shown(one)} goes" not in str(error)  # noqa: PT017


def test_what_an_option_is_by_itself_is_not_given() -> None:
    """The rules look at what stands on the command line; defaults contradict nothing."""
    for command in COMMANDS.keys() - {"inspect"}:  # which is none without one of its views
        if not any(parameter.required for parameter in COMMANDS[command].params):
            parsed(command)
    parsed("score", "x", "--words")
    parsed("score", "--heatmap", "--unit", "bits", "--html", "x.html")
    parsed("score", "--json", "--words", "--per-token")
    parsed("novelty", "x", "--jsonl", "--split-on", "line", "--against", "y")


def test_a_pair_may_go_together_when_there_is_more() -> None:
    """What a rule makes an exception for is let through."""
    rule = Apart("--per-token", "--words", "a row is one", unless="--json")
    context = COMMANDS["score"].make_context("score", ["--per-token", "--words"])
    with pytest.raises(UsageError, match="but with --json"):
        check(context, (rule,))
    context = COMMANDS["score"].make_context("score", ["--per-token", "--words", "--json"])
    check(context, (rule,))
