"""The command line: the only room that prints, reads argv or exits. One file a command.

Nothing here imports torch, numpy or sentencepiece before a command needs them.
"""

from charlm.cli.app import main

__all__ = ["main"]
