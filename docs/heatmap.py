"""Draw docs/heatmap.svg: python docs/heatmap.py MODEL "TEXT" ["TEXT" ...].

It is what charlm score --heatmap writes to a dark terminal of 2**24 colours, recorded by Rich. The
picture in the README was made of the bundled prose: charlm train --demo --epochs 24.
"""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS = 60
# Without the fonts that a browser would fetch.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def written(command: list[str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    dark = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLORFGBG": "15;0"}
    subprocess.run(  # noqa: S603  (the command is charlm)
        command,
        check=True,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **dark, "COLUMNS": str(COLUMNS)},
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode().replace("\r\n", "\n")


def main() -> None:
    """Record one run and write the picture beside this file."""
    model, *texts = sys.argv[1:]
    command = [sys.executable, "-m", "charlm", "score", "--model", model, "--heatmap", *texts]
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(written(command).strip("\n")))
    picture = console.export_svg(
        title="charlm score --heatmap", theme=MONOKAI, code_format=FORMAT, unique_id="heatmap"
    )
    Path(__file__).with_name("heatmap.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
