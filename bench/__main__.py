"""python -m bench train|sample|score|startup|all: figures of this machine, as ratios in one run."""

import sys

from bench import machine, sample, score, startup, train

PARTS = {"train": train.main, "sample": sample.main, "score": score.main, "startup": startup.main}


def main() -> None:
    """Run the parts that are named."""
    wanted = sys.argv[1:] or ["all"]
    names = list(PARTS) if wanted == ["all"] else wanted
    if unknown := [name for name in names if name not in PARTS]:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}, all")
    print(machine.describe())
    for name in names:
        print(f"\n## {name}\n")
        PARTS[name]()


main()
