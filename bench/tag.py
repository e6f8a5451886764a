"""Capitals put back: the tagger against the habit of each word and against a window of words.

python -m bench tag DIR [TIME [SENTENCES]] reads DIR/wikitext2: its words in small letters, tagged
as they were written. A run of words that begin with a capital is a span, B-CAP and I-CAP; all else
is O. So each token has a tag that nobody had to write, and spans are names and titles, mostly. The
first SENTENCES (20,000) of train.txt are learned from, all of test.txt is judged. TIME is what
charlm train gets (2m).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import machine
from charlm.text.conll import score_spans

Sentences = list[tuple[list[str], list[str]]]  # tokens and their tags
Tagger = Callable[[Sentences, list[list[str]]], list[list[str]]]


def main(arguments: Sequence[str]) -> None:
    """Print one table: accuracy, precision, recall and F1 of spans, seconds."""
    if not arguments:
        raise SystemExit("python -m bench tag DIR [TIME [SENTENCES]]: where are the corpora?")
    folder = Path(arguments[0]) / "wikitext2"
    budget = arguments[1] if len(arguments) > 1 else "2m"
    most = int(arguments[2]) if len(arguments) > 2 else 20_000
    train = [s for s, _ in zip(read(folder / "train.txt"), range(most), strict=False)]
    known = {tuple(tokens) for tokens, _ in train}
    held = [s for s in read(folder / "test.txt") if tuple(s[0]) not in known]
    size = sum(len(tokens) for tokens, _ in train)
    print(f"{len(train):,} sentences of {size:,} tokens to learn from, {len(held):,} to judge\n")
    rows = []
    meant = [tags for _, tags in held]
    methods: list[tuple[str, Tagger]] = [
        ("what each word mostly is", habit),
        ("logistic regression on a window of 5 words", window),
        (f"charlm train --tagger --time {budget}", lambda *parts: charlm(budget, *parts)),
    ]
    for title, run in methods:
        begun = time.perf_counter()
        said = run(train, [tokens for tokens, _ in held])
        seconds = time.perf_counter() - begun
        pairs = [pair for two in zip(meant, said, strict=True) for pair in zip(*two, strict=True)]
        accuracy = sum(one == other for one, other in pairs) / len(pairs)
        of_spans = (f"{value:.4f}" for value in score_spans(meant, said)[""][:3])
        rows.append((title, f"{accuracy:.4f}", *of_spans, f"{seconds:.0f}"))
        print(*rows[-1], flush=True)
    machine.table(("tagger", "accuracy", "precision", "recall", "F1", "seconds"), rows)


def read(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The sentences of a file that keeps one paragraph a line, words between spaces."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words or words[0] == "=":  # a heading
            continue
        ends = [at + 1 for at, word in enumerate(words) if word == "."]
        for begin, end in zip([0, *ends], [*ends, len(words)], strict=True):
            if begin < end:
                yield tagged(words[begin:end])


def tagged(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words in small letters, and the runs of capitals among them."""
    tags, inside = [], False
    for word in words:
        is_capital = word[0].isupper()
        tags.append(("I-CAP" if inside else "B-CAP") if is_capital else "O")
        inside = is_capital
    return [word.lower() for word in words], tags


def habit(train: Sentences, held: list[list[str]]) -> list[list[str]]:
    """Capital or not as it mostly was, the first of a sentence and unknown words apart."""
    seen: dict[tuple[str, bool], Counter[bool]] = defaultdict(Counter)
    unknown: dict[bool, Counter[bool]] = {True: Counter(), False: Counter()}
    counts = Counter(token for tokens, _ in train for token in tokens)
    for tokens, tags in train:
        for at, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
            seen[token, at == 0][tag != "O"] += 1
            if counts[token] == 1:
                unknown[at == 0][tag != "O"] += 1

    def is_capital(token: str, is_first: bool) -> bool:
        return (seen.get((token, is_first)) or unknown[is_first]).most_common(1)[0][0]

    return [
        spans([is_capital(token, at == 0) for at, token in enumerate(tokens)]) for tokens in held
    ]


def spans(capitals: Sequence[bool]) -> list[str]:
    """Tags of runs."""
    before = [False, *capitals]
    return [
        ("I-CAP" if last else "B-CAP") if now else "O"
        for last, now in zip(before, capitals, strict=False)
    ]


def window(train: Sentences, held: list[list[str]]) -> list[list[str]]:
    """Logistic regression: the words around, what they begin and end with, the shape of this one.

    How smooth is chosen on a tenth of the sentences to learn from.
    """
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import LogisticRegression

    hasher = FeatureHasher(2**20, input_type="string", alternate_sign=False)

    def rows(sentences: list[list[str]]) -> object:
        return hasher.transform(
            features(tokens, at) for tokens in sentences for at in range(len(tokens))
        )

    def learned(part: Sentences, smooth: float) -> LogisticRegression:
        truth = [tag != "O" for _, tags in part for tag in tags]
        return LogisticRegression(C=smooth, max_iter=200).fit(rows([t for t, _ in part]), truth)

    cut = len(train) * 9 // 10
    few, apart = train[:cut:3], train[cut:]
    truth = [tag != "O" for _, tags in apart for tag in tags]
    there = rows([tokens for tokens, _ in apart])
    best = max((0.3, 1, 3, 10), key=lambda smooth: learned(few, smooth).score(there, truth))
    said = iter(learned(train, best).predict(rows(held)).tolist())
    return [spans([next(said) for _ in tokens]) for tokens in held]


def features(tokens: list[str], at: int) -> list[str]:
    """What is said of one token."""
    found = ["first" if at == 0 else "later"]
    for near in range(-2, 3):
        there = 0 <= at + near < len(tokens)
        word = tokens[at + near] if there else "<edge>"
        found.append(f"{near}={word}")
        if near == 0:
            found += [f"^{word[:n]}" for n in (1, 2, 3)] + [f"{word[-n:]}$" for n in (1, 2, 3, 4)]
            found.append(f"digit={word[0].isdigit()}")
            found.append(f"first and {word}={at == 0}")
    for near in (-1, 0):
        pair = tokens[max(0, at + near) : at + near + 2]
        found.append(f"{near}:{' '.join(pair)}")
    return found


def charlm(budget: str, train: Sentences, held: list[list[str]]) -> list[list[str]]:
    """A whole `charlm train --tagger` with no other option, then what it says."""
    from charlm.models.load import load

    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "capitals.conll"
        table.write_text(
            "\n".join(
                "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
                for tokens, tags in train
            )
        )
        command = [sys.executable, "-m", "charlm", "train", str(table), "--tagger"]
        command += ["--name", "capitals", "--time", budget]
        # The charlm of this folder, not one that is installed.
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return load(Path(folder) / "checkpoints" / "capitals", task="tagger").tag(held)
