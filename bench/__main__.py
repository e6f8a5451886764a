"""Figures of this machine, as ratios in one run.

python -m bench [train|sample|score|startup|all], python -m bench growth, python -m bench ranks,
python -m bench sample RUN [RUN ...] (see sample.py), python -m bench busy DIR (see busy.py),
python -m bench quality DIR [NAME ...] (see quality.py), python -m bench gaps TEXT MODEL [MODEL ...]
(see gaps.py), python -m bench classify DIR (see classify.py), python -m bench tag DIR (see tag.py),
python -m bench bulk [LINES [ROUNDS]] (see bulk.py),
python -m bench g2p [ROW ...] (see g2p.py), python -m bench serve (see serve.py),
python -m bench words [SET ...] (see words.py),
python -m bench adaptive TEXT [SECONDS [WORDS]] (see adaptive.py),
python -m bench predictors RUN TEXT (see predictors.py),
python -m bench letters CHARACTERS WORDS TEXT [WEIGHT ...] (see letters.py),
python -m bench counts DIR and python -m bench mixing RUN [RUN ...] (see mixing.py),
python -m bench stream DIR [MB ...] (see stream.py),
python -m bench smoke [PYTHON ...] (see smoke.py), and
python -m bench types DIR [TOKENS [STEPS]] (see types.py).
"""

import sys
from collections.abc import Callable, Sequence

from bench import (
    adaptive,
    bulk,
    busy,
    classify,
    g2p,
    gaps,
    growth,
    letters,
    machine,
    mixing,
    predictors,
    quality,
    ranks,
    sample,
    score,
    serve,
    smoke,
    startup,
    stream,
    tag,
    train,
    types,
    words,
)

PARTS = {"train": train.main, "sample": sample.main, "score": score.main, "startup": startup.main}
# What is run by its name alone, with arguments of its own.
SUBJECTS: dict[str, Callable[[Sequence[str]], None]] = {
    "adaptive": adaptive.main,
    "bulk": bulk.main,
    "busy": busy.main,
    "classify": classify.main,
    "counts": mixing.counts,
    "g2p": g2p.main,
    "gaps": gaps.main,
    "growth": growth.main,
    "letters": letters.main,
    "mixing": mixing.mixing,
    "predictors": predictors.main,
    "quality": quality.main,
    "ranks": ranks.main,
    "sample": sample.main,
    "serve": serve.main,
    "smoke": smoke.main,
    "stream": stream.main,
    "tag": tag.main,
    "types": types.main,
    "words": words.main,
}


def main() -> None:
    """Run the parts that are named."""
    wanted = sys.argv[1:] or ["all"]
    if wanted[0] in SUBJECTS and (wanted[0] not in PARTS or len(wanted) > 1):
        print(machine.describe(), flush=True)
        SUBJECTS[wanted[0]](wanted[1:])
        return
    names = list(PARTS) if wanted == ["all"] else wanted
    if unknown := [name for name in names if name not in PARTS]:
        there = ", ".join((*PARTS, "all", *SUBJECTS))
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {there}")
    print(machine.describe())
    for name in names:
        print(f"\n## {name}\n")
        PARTS[name]()


main()
