"""Surnames by language: the classifier against guessing and against counts of n-grams.

python -m bench classify DIR [TIME] reads DIR/names_by_language/*.txt, one file a language. A fifth
of the different names is held out by seed, each with all its copies; nothing of it is seen by
anything that is trained here. TIME is what charlm train gets (2m).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench import machine


def main(arguments: Sequence[str]) -> None:
    """Print one table: accuracy over all names, mean accuracy over languages, seconds."""
    if not arguments:
        raise SystemExit("python -m bench classify DIR [TIME]: where are the corpora?")
    names, labels = read(Path(arguments[0]) / "names_by_language")
    held = split(names)
    rows = []
    sides = {"as they stand": (names[~held], labels[~held])}
    sides["each once"] = once(*sides["as they stand"])
    for side, (train_names, train_labels) in sides.items():
        for title, run in methods(arguments[1] if len(arguments) > 1 else "2m"):
            begun = time.perf_counter()
            said = run(train_names, train_labels, names[held])
            seconds = time.perf_counter() - begun
            micro, macro = accuracy(said, labels[held])
            rows.append((title, side, f"{micro:.4f}", f"{macro:.4f}", f"{seconds:.0f}"))
            print(*rows[-1], flush=True)
    print(
        f"\n{(~held).sum():,} names to train on, {held.sum():,} held out, "
        f"{len(set(labels))} languages; no name on both sides\n"
    )
    machine.table(
        ("classifier", "names to train on", "accuracy", "mean over languages", "seconds"), rows
    )


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names and languages (S,), as they stand in the files."""
    pairs = [
        (line.strip(), path.stem)
        for path in sorted(folder.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    names, labels = zip(*pairs, strict=True)
    return np.array(names), np.array(labels)


def split(names: np.ndarray, seed: int = 0) -> np.ndarray:
    """Which names (S,) are held out: a fifth of the different ones."""
    distinct = np.unique(names)
    order = np.random.default_rng(seed).permutation(len(distinct))
    return np.isin(names, distinct[order[: len(distinct) // 5]])


def once(names: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each name with each of its languages once, in any order: what --distinct trains on."""
    pairs = sorted(set(zip(names.tolist(), labels.tolist(), strict=True)))
    order = np.random.default_rng(0).permutation(len(pairs))
    apart = np.array(pairs)[order]
    return apart[:, 0], apart[:, 1]


def accuracy(said: np.ndarray, meant: np.ndarray) -> tuple[float, float]:
    """The share that is right, of all and as a mean over the languages that were meant."""
    right = said == meant
    return float(right.mean()), float(np.mean([right[meant == m].mean() for m in np.unique(meant)]))


def methods(budget: str) -> list[tuple[str, object]]:
    """What is compared: a name, and (names, labels, names) -> labels."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    def majority(_names: np.ndarray, labels: np.ndarray, held: np.ndarray) -> np.ndarray:
        kinds, counts = np.unique(labels, return_counts=True)
        return np.full(len(held), kinds[counts.argmax()])

    def counts(model: object, grid: dict[str, list], vectorizer: type) -> object:
        # What a name begins and ends with tells most: char_wb marks both with a space. How smooth
        # is chosen by cross-validation within the names to train on, as a careful user would.
        pipeline = make_pipeline(
            vectorizer(analyzer="char_wb", ngram_range=(1, 4), lowercase=True), model
        )

        def run(names: np.ndarray, labels: np.ndarray, held: np.ndarray) -> np.ndarray:
            return GridSearchCV(pipeline, grid, cv=3).fit(names, labels).predict(held)

        return run

    return [
        ("the most frequent language", majority),
        (
            "Naive Bayes, 1- to 4-grams of characters",
            counts(
                MultinomialNB(),
                {"multinomialnb__alpha": [0.01, 0.03, 0.1, 0.3, 1]},
                CountVectorizer,
            ),
        ),
        (
            "logistic regression, the same (tf-idf)",
            counts(
                LogisticRegression(max_iter=1000),
                {"logisticregression__C": [1, 3, 10, 30]},
                TfidfVectorizer,
            ),
        ),
        (
            f"charlm train --distinct --time {budget}, Bayes' rule",
            lambda *parts: charlm("--distinct", budget, *parts),
        ),
        (
            f"charlm train --classifier --time {budget}",
            lambda *parts: charlm("--classifier", budget, *parts),
        ),
    ]


def charlm(
    option: str, budget: str, names: np.ndarray, labels: np.ndarray, held: np.ndarray
) -> np.ndarray:
    """A whole `charlm train` with this option alone, then what it says.

    With --classifier it is a head that names the label; without, a conditional model of which
    Bayes' rule makes one.
    """
    from charlm.models.load import load

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "names.tsv"
        table.write_text("".join(f"{n}\t{k}\n" for n, k in zip(names, labels, strict=True)))
        command = [sys.executable, "-m", "charlm", "train", str(table), option]
        command += ["--label-from", "column:2", "--name", "names", "--time", budget]
        # The charlm of this folder, not one that is installed.
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        run = Path(folder) / "checkpoints" / "names"
        if option == "--classifier":
            found = load(run, task="classifier")
            return np.array(found.names)[found.classify(list(held)).argmax(axis=1)]
        model = load(run, task="language-model")
        assert model.labels is not None
        return np.array(model.labels.names)[model.classify(list(held)).argmax(axis=1)]
