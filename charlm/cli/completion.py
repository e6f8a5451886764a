"""What the scripts that complete a line in a shell lack."""

from typing import Any

ASKED = ("--install-completion", "--show-completion")
# zsh reads the script at the first TAB, as the body of the function that completes: without this
# the first TAB in each new shell only defines that function.
_AT_ONCE = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  %(complete_func)s "$@"
fi
"""


def complete_at_once() -> None:
    """Let zsh complete from the first TAB on."""
    from typer import _completion_shared

    scripts: dict[str, Any] = _completion_shared._completion_scripts
    if _AT_ONCE not in scripts["zsh"]:
        scripts["zsh"] += _AT_ONCE
