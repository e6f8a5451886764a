"""Which options of charlm score go with which."""

from charlm.cli import options
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Ordered, Rules

_LINES = ("--jsonl", "--column", "--csv", "--nbest")
_BUCKETS = ("--bucket", "--bounds")
_BOUNDS = ("--min-perplexity", "--max-perplexity", "--min-bits", "--max-bits", "--keep-best")
RULES: Rules = (
    *options.MIXING,
    options.PARTNERS,
    *options.TEXT_OR_FILE,
    *options.CUT,
    Apart(("--split-on", "--null"), _LINES, "there a text is a part of a line"),
    Apart("--on-error", ("--split-on paragraph", "--split-on file"), "that is about broken lines"),
    Apart("TEXTS", (*_LINES, *options.SIDES, "--on-error"), "that is about the lines of a file"),
    Apart("TEXTS", "--jobs", "that is about the lines of a file"),
    Apart("--jobs", "--adapt file", "each text is learned from before the next is scored"),
    Needs("--features", "--source"),
    Apart("--source", ("--file", *options.SIDES), "a file holds the sources of its pairs"),
    Apart(options.SIDES, ("--jsonl", "--column", "--nbest"), "there a line holds a text, no pair"),
    OneOf("--json", "--tsv"),
    OneOf("--jsonl", "--column"),
    OneOf("--jsonl", "--csv"),
    OneOf("--column", "--nbest"),
    Needs("--field", "--jsonl"),
    Needs(("--header", "--csv"), ("--column", "--nbest", *options.COLUMNS)),
    Needs("--prefix", ("--json", "--tsv", *_LINES, *options.SIDES)),
    Needs(("--weight", "--best", "--kaldi", "--tune-weight"), "--nbest"),
    OneOf("--weight", "--tune-weight"),
    Apart("--kaldi", ("--jsonl", "--csv", "--header"), "its lines have a form of their own"),
    Needs("--region-column", "--column"),
    Apart("--region-column", "--per-token", "a row is a region"),
    Needs("--invert", _BOUNDS),
    Needs("--bucket-to", _BUCKETS),
    Apart(_BUCKETS, ("TEXTS", "--source"), "that is about the texts of a file"),
    Apart(_BUCKETS, (*_BOUNDS, "--nbest"), "each text goes into a file as it came"),
    Apart(
        _BUCKETS,
        ("--json", "--tsv", "--per-token", "--words", "--heatmap", "--html", "--attention"),
        "each text goes into a file as it came",
    ),
    Apart("--nbest", _BOUNDS, "it ranks hypotheses and drops none"),
    Apart(("--json", "--tsv"), ("--jsonl", "--column"), "results go into the lines as they came"),
    Apart(
        ("--heatmap", "--html", "--attention"),
        ("--json", "--tsv", "--per-token", *_LINES),
        "it is for people",
    ),
    Apart("--unit", "--heatmap", "its colours are of bits", unless="--html"),
    Apart("--per-token", "--words", "a row is a token or a word", unless=("--json", "--jsonl")),
    Apart(
        ("--per-token", "--words"),
        "--nbest",
        "a row is a hypothesis",
        unless=("--json", "--jsonl"),
    ),
    Ordered("--min-perplexity", "--max-perplexity"),
    Ordered("--min-bits", "--max-bits"),
    Apart("--keep-best", _BOUNDS[:-1], "it is a bound by itself"),
    Apart(
        ("--keep-best", "--histogram"),
        ("TEXTS", "--source", *options.SIDES),
        "that is about the texts of a file",
    ),
    Apart("--histogram", (*_BUCKETS, "--nbest"), "it is of a filter"),
)
