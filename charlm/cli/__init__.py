"""The command line: the only package that prints, reads argv or exits. One file per command.

Nothing here imports torch, numpy or sentencepiece before a command needs them.
"""

from charlm.cli.signals import end_on_signals
from charlm.threads import wait_briefly

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    end_on_signals()  # before anything else is imported: that takes longer than a Ctrl-C
    wait_briefly()
    from charlm.cli import app

    app.main()
