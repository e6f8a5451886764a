"""Figures of this machine, as ratios in one run.

python -m bench [train|sample|score|startup|all], python -m bench growth,
python -m bench sample RUN [RUN ...] (see sample.py), python -m bench busy DIR (see busy.py),
python -m bench quality DIR [NAME ...] (see quality.py), python -m bench gaps TEXT MODEL [MODEL ...]
(see gaps.py), python -m bench classify DIR (see classify.py), python -m bench tag DIR (see tag.py),
and python -m bench counts DIR and python -m bench mixing RUN [RUN ...] (see mixing.py).
"""

import sys

from bench import (
    busy,
    classify,
    gaps,
    growth,
    machine,
    mixing,
    quality,
    sample,
    score,
    startup,
    tag,
    train,
)

PARTS = {"train": train.main, "sample": sample.main, "score": score.main, "startup": startup.main}


def main() -> None:
    """Run the parts that are named."""
    wanted = sys.argv[1:] or ["all"]
    if wanted[0] == "quality":
        print(machine.describe(), flush=True)
        quality.main(wanted[1:])
        return
    if wanted[0] in ("classify", "tag"):
        print(machine.describe(), flush=True)
        (classify if wanted[0] == "classify" else tag).main(wanted[1:])
        return
    if wanted[0] == "busy":
        print(machine.describe(), flush=True)
        busy.main(wanted[1:])
        return
    if wanted[0] == "growth":
        print(machine.describe(), flush=True)
        growth.main()
        return
    if wanted[0] == "sample" and len(wanted) > 1:
        print(machine.describe(), flush=True)
        sample.main(wanted[1:])
        return
    if wanted[0] == "gaps":
        print(machine.describe(), flush=True)
        gaps.main(wanted[1:])
        return
    if wanted[0] in ("counts", "mixing"):
        print(machine.describe(), flush=True)
        (mixing.counts if wanted[0] == "counts" else mixing.mixing)(wanted[1:])
        return
    names = list(PARTS) if wanted == ["all"] else wanted
    if unknown := [name for name in names if name not in PARTS]:
        there = ", ".join(
            (
                *PARTS,
                "all",
                "busy",
                "growth",
                "quality",
                "gaps",
                "classify",
                "tag",
                "counts",
                "mixing",
            )
        )
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {there}")
    print(machine.describe())
    for name in names:
        print(f"\n## {name}\n")
        PARTS[name]()


main()
