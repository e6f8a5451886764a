"""Words from words: English inflection and spelling correction, against edit distance.

python -m bench words [SET ...]; needs the packages of the dependency group ``bench``, and reads no
more than the data in them. The sets:

inflection   lemma and features to form, from lemminflect: plurals, comparatives and superlatives,
             the past, both participles and the third person. Where no past participle is listed it
             is the past. Parted by lemma.
misspelled   misspelling to word, from codespell's dictionary.txt; where it has several words for
             one, all are right. Parted by misspelling: its words may stand in training too.
new-words    the same, parted by the first of the words: what is right was never seen in training.

A pair is one to judge if the first eight hexadecimal digits of the SHA-1 of what it is parted by
are 95 to 99 modulo 100, to validate on if they are 0 to 4, else to train on. An answer is right if
it equals any of those listed for its source. charlm gets three minutes and no other setting than
the column of features. Beside it:

nearest ending   (inflection) of the lemmas of training with the same features those count that
                 share the longest ending with the lemma; of their rules (an ending off, another
                 on, what form and lemma begin with alike being kept) the most frequent one that
                 fits is taken, the first in order of characters among equals.
nearest word     (spelling) the word of training, or (a spell checker has a list) of all of the
                 dictionary, at the least Damerau-Levenshtein distance (restricted: no part is
                 edited twice); among equals that of the most misspellings in training, then the
                 first in order of characters.
"""

import functools
import gzip
import hashlib
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench.g2p import output

# Lines of a training file without the target: a source, or a source, a tab and features.
References = dict[str, list[str]]
_TIME = ("--time", "3m")


class Parts(NamedTuple):
    """Sources with what is right for each: to train on, to validate on, to judge."""

    train: References
    valid: References
    test: References


def main(arguments: Sequence[str]) -> None:
    """Print one table: accuracy of each method on each set, seconds of training and answering."""
    sets: dict[str, Callable[[], Parts]] = {
        "inflection": inflection,
        "misspelled": lambda: spelling(lambda source, _: source),
        "new-words": lambda: spelling(lambda _, words: words[0]),
    }
    wanted = arguments or tuple(sets)
    if unknown := [name for name in wanted if name not in sets]:
        raise SystemExit(f"no such set: {', '.join(unknown)}; there are {', '.join(sets)}")
    rows = []
    for name in wanted:
        parts = sets[name]()
        print(f"\n{name}")
        for side, there in zip(Parts._fields, parts, strict=True):
            print(f"{side}: {len(there):,} sources, {sum(map(len, there.values())):,} targets")
        for method, answer in methods(name):
            begun = time.perf_counter()
            said = answer(parts)
            seconds = time.perf_counter() - begun
            right = sum(one in meant for one, meant in zip(said, parts.test.values(), strict=True))
            rows.append((name, method, f"{100 * right / len(said):.2f} %", f"{seconds:.0f}"))
            print(*rows[-1], flush=True)
    print()
    machine.table(("set", "method", "accuracy", "seconds"), rows)


def methods(name: str) -> Iterator[tuple[str, Callable[[Parts], list[str]]]]:
    """What is compared on a set."""
    if name == "inflection":
        yield "nearest ending", nearest_ending
    else:
        yield "nearest word of training", nearest_word
        yield "nearest word of all", lambda parts: nearest_word(parts, everything=True)
    features = ("--features-column", "3") if name == "inflection" else ()
    options = (*features, *_TIME)
    title = " ".join(("charlm train --pairs", *options))
    yield title, functools.partial(charlm, options=options)


# The sets


def data_of(package: str, name: str) -> bytes:
    """A file that comes with a package; the package itself is not imported."""
    try:
        (path,) = (file for file in files(package) or () if file.name == name)
    except (PackageNotFoundError, ValueError):
        raise SystemExit(f"this needs {package}: pip install --group bench") from None
    return Path(str(path.locate())).read_bytes()


def parted(found: Mapping[str, Sequence[str]], key: Callable[[str, Sequence[str]], str]) -> Parts:
    """The three parts, by what a source and its targets are told apart by."""
    parts = Parts({}, {}, {})
    for source, targets in found.items():
        digits = hashlib.sha1(key(source, targets).encode()).hexdigest()[:8]
        number = int(digits, 16) % 100
        side = parts.valid if number < 5 else parts.test if number >= 95 else parts.train
        side[source] = list(targets)
    return parts


def inflection() -> Parts:
    """Forms of lemmas with features, as UniMorph calls them."""
    names = {
        "noun": ("N;PL",),
        "adj": ("ADJ;CMPR", "ADJ;SPRL"),
        "adv": ("ADV;CMPR", "ADV;SPRL"),
        "verb": ("V;PST", "V;V.PTCP;PST", "V;V.PTCP;PRS", "V;PRS;3;SG"),
    }
    found: References = {}
    for line in gzip.decompress(data_of("lemminflect", "infl_lu.csv.gz")).decode().splitlines():
        lemma, kind, *forms = line.split(",")
        if kind == "verb" and not forms[1]:
            forms[1] = forms[0]
        for features, several in zip(names[kind], forms, strict=False):
            for form in filter(None, several.split("/")):
                there = found.setdefault(f"{lemma}\t{features}", [])
                if form not in there:
                    there.append(form)
    return parted(found, lambda source, _: source.partition("\t")[0])


def spelling(key: Callable[[str, Sequence[str]], str]) -> Parts:
    """Words that misspellings may stand for."""
    found = {}
    for line in data_of("codespell", "dictionary.txt").decode().splitlines():
        source, _, right = line.partition("->")
        words = [word.strip() for word in right.split(",")]
        # What stands behind a last comma is a reason why it is not corrected at once.
        found[source] = words[:-1] if len(words) > 1 else words
    return parted(found, key)


# The methods: an answer for each source to judge


def charlm(parts: Parts, options: Sequence[str]) -> list[str]:
    """Train and translate on the command line."""
    program = [sys.executable, "-m", "charlm"]
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", parts.train), ("valid", parts.valid)):
            lines = (line_of(source, one) for source, several in part.items() for one in several)
            Path(folder, f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
        sources = "".join(f"{source}\n" for source in parts.test)
        Path(folder, "sources.txt").write_text(sources, encoding="utf-8")
        texts = ["train.tsv", "--valid", "valid.tsv", "--pairs", *options]
        output([*program, "train", *texts, "--name", "m"], Path(folder), told=True)
        asked = [*program, "translate", "--model", "m", "--file", "sources.txt"]
        return output(asked, Path(folder)).splitlines()


def line_of(source: str, target: str) -> str:
    """A line of a training file: source, target, and the features if there are any."""
    text, tab, features = source.partition("\t")
    return f"{text}\t{target}{tab}{features}\n"


def nearest_ending(parts: Parts) -> list[str]:
    """The rule of the lemmas with the longest ending in common."""
    rules: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for source, forms in parts.train.items():
        lemma, features = source.split("\t")
        for at in range(len(lemma) + 1):
            rules[features, lemma[at:]].update(rule_of(lemma, form) for form in forms)
    said = []
    for source in parts.test:
        lemma, features = source.split("\t")
        fitting = (
            [(-count, rule) for rule, count in there.items() if lemma.endswith(rule[0])]
            for at in range(len(lemma) + 1)
            if (there := rules.get((features, lemma[at:])))
        )
        _, (off, on) = min(next(filter(None, fitting), [(0, ("", ""))]))
        said.append(lemma[: len(lemma) - len(off)] + on)
    return said


def rule_of(lemma: str, form: str) -> tuple[str, str]:
    """What is taken off the end of a lemma, and what is put on."""
    same = 0
    while same < min(len(lemma), len(form)) and lemma[same] == form[same]:
        same += 1
    return lemma[same:], form[same:]


def nearest_word(parts: Parts, everything: bool = False) -> list[str]:
    """The word at the least distance."""
    try:
        from rapidfuzz import process
        from rapidfuzz.distance import OSA
    except ImportError:
        raise SystemExit("this needs rapidfuzz: pip install --group bench") from None
    counts = Counter(word for words in parts.train.values() for word in words)
    if everything:
        counts.update(dict.fromkeys((w for ws in parts.test.values() for w in ws), 0))
        counts.update(dict.fromkeys((w for ws in parts.valid.values() for w in ws), 0))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    distances = process.cdist(list(parts.test), words, scorer=OSA.distance, workers=-1)
    return [words[at] for at in distances.argmin(axis=1)]
