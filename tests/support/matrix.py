"""The matrix of docs/reliability.md: its rows, and how many cases of each were really run.

A test that backs a row is marked ``@pytest.mark.row("F2")`` and takes the fixture ``tally``:

    for seed in range(tally.wanted(500)):
        ...
        tally.add()

``tally.wanted`` is ten times as many in the nightly run. Several tests may share a row; each asks
for its part, and the row fails if fewer cases were run than it promises.
"""

import dataclasses
import time
from typing import NamedTuple

NIGHTLY = 10


class Row(NamedTuple):
    """A row of the matrix: the promises it backs, what is done, and the cases of a usual run."""

    promises: str
    what: str
    count: int


@dataclasses.dataclass
class Result:
    """What has been run of a row. ``parts`` is what its tests asked for, in all."""

    done: int = 0
    parts: int = 0
    failures: int = 0
    seconds: float = 0.0


# In the order of the table; a row stands here once the tests that back it do.
ROWS: dict[str, Row] = {
    "F1": Row("P2", "each file of a step cut at any length: refused, named", 300),
    "F2": Row("P2", "one bit flipped anywhere: refused", 500),
    "F4": Row(
        "P2 P3 P8", "hostile headers, sizes, depths, special files: refused, unallocated", 60
    ),
    "F5": Row("P3", "pickles under every name: never run", 12),
    "F6": Row("P3", "modules of the package without pickle, eval, exec, yaml and the like", 1),
    "F7": Row("P2", "a token store damaged in any file: found out, and written anew", 28),
    "C1": Row("P1", "a saving process killed: the newest step is whole, and not older", 200),
    "C2": Row("P1", "full, failing and read-only disks at the k-th call: the old step loads", 500),
    "C4": Row("P1 P2", "states after a crash at any operation: the old or the new step loads", 480),
    "C5": Row(
        "P1 P4", "training killed with -9 at random and resumed, its steps or time given", 14
    ),
    "C6": Row("P1 P2", "full, failing, dying disks while a token store is written: none half", 90),
    "D1": Row("P4", "stopped and resumed in a new process, 6 points of 16 runs, 3 of 4 kinds", 108),
    "D4": Row("P4", "corpus, labels, tokenizer, architecture, kind changed on --resume", 25),
    "N1": Row("P5", "NaN, infinity or 1e38 in a gradient", 60),
    "N2": Row("P5", "gradients that are never finite again", 15),
    "L2": Row("P6", "chunk and batch sizes, neighbours, orders, engines", 308),
    "L4": Row("P6", "a million-token text against math.fsum", 3),
    "L7": Row("P6", "sampled tokens against the model, chi-square", 300_000),
    "A1": Row("P6", "what adapts: neighbours, orders, pieces, engines; a poisoned text", 121),
    "T1": Row("P8", "odd corpora x levels or kinds x train, and use", 660),
    "T2": Row("P8", "round trips by property", 30_300),
    "S1": Row("P1 P4", "INT, TERM, HUP, INT INT in 6 phases", 144),
    "M1": Row("P1 P4", "one of two processes killed with -9: the other ends; resumed", 6),
    "M2": Row("P1 P4", "INT, TERM, HUP to one of two processes: both save once and stop", 12),
    "W1": Row(
        "P1", "rounds of 8 processes that start on one run: one runs, the others name it", 20
    ),
    "W3": Row("P1", "readers while steps are saved, replaced and deleted: all find one", 1000),
    "W5": Row("P3", "hostile names, and links in a run: nothing outside is touched", 200),
    "I1": Row("P8", "formats of files x commands: read, or named and refused", 312),
    "I3": Row("P8", "ends of lines x commands: the same figures, rows written as they came", 168),
    "E1": Row("P7", "control characters and escape sequences x channels of a terminal", 1102),
    "V1": Row(
        "P9", "hostile bodies of requests: refused in a sentence, the next one answered", 300
    ),
    "V2": Row("P9", "foreign hosts x endpoints: refused, told what to do", 48),
    "V3": Row("P9", "connections that send their request slowly, or nothing: cut in time", 20),
    "V4": Row("P9", "clients that leave amid a stream: their work ends", 100),
    "V5": Row("P9", "requests of all kinds, in flat memory", 1000),
    "V6": Row("P6 P9", "streams side by side: every token that of the seed offline", 100),
    "I2": Row("P8", "options without those they need, or that contradict: both named", 220),
}


class Tally:
    """Counts the cases of one test of a row."""

    def __init__(self, result: Result, *, nightly: bool) -> None:
        self._result = result
        self._factor = NIGHTLY if nightly else 1

    def wanted(self, count: int) -> int:
        """How many cases this test is to run, where a usual run has ``count``."""
        self._result.parts += count * self._factor
        return count * self._factor

    def add(self, count: int = 1) -> None:
        """So many cases held."""
        self._result.done += count


class Matrix:
    """The results of a run, row by row."""

    def __init__(self, *, nightly: bool) -> None:
        self.nightly = nightly
        self.results: dict[str, Result] = {}

    def result(self, row: str) -> Result:
        """That of a row of ROWS; KeyError for any other."""
        ROWS[row]
        return self.results.setdefault(row, Result())

    def problems(self) -> list[str]:
        """Rows that failed, or of which fewer cases were run than promised."""
        factor = NIGHTLY if self.nightly else 1
        found = []
        for name, row in ROWS.items():
            result = self.results.get(name, Result())
            if result.failures:
                found.append(f"{name}: {result.failures} failures")
            elif result.done < max(result.parts, row.count * factor):
                found.append(f"{name}: {result.done} of {row.count * factor} cases were run")
        return found

    def table(self) -> list[str]:
        """The lines of a table in Markdown."""
        lines = [
            "| row | backs | test | promised | run | failed | seconds |",
            "|---|---|---|---:|---:|---:|---:|",
        ]
        for name, row in ROWS.items():
            result = self.results.get(name, Result())
            lines.append(
                f"| {name} | {row.promises} | {row.what} | {row.count:,} | {result.done:,} | "
                f"{result.failures} | {result.seconds:.1f} |"
            )
        cases = sum(result.done for result in self.results.values())
        lines += ["", f"{time.strftime('%Y-%m-%d')}: {cases:,} cases"]
        return lines
