"""One of several processes on the command line: which of them prints, and how they end."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli import errors
from charlm.cli.errors import Interrupted
from charlm.errors import CharlmError
from charlm.training.ranks.launched import Launched

if TYPE_CHECKING:
    from charlm.training.ranks.ranks import Ranks


@contextlib.contextmanager
def joined(one_of: Launched | None) -> Iterator["Ranks"]:
    """All processes of a training; this one alone where it is not one of several.

    An error that several of them end with is told by one.
    """
    if one_of is None:
        from charlm.training.ranks.ranks import ALONE

        yield ALONE
        return
    errors.speaks = True  # of what befalls it before it can ask the others
    from charlm.training.ranks.joined import JoinedRanks

    ranks = JoinedRanks(one_of)
    try:
        yield ranks
    except Interrupted:
        errors.speaks = ranks.is_first
        raise
    except Exception as error:
        errors.speaks = ranks.tells(error)
        if not errors.speaks:
            raise SystemExit(error.exit_code if isinstance(error, CharlmError) else 1) from None
        raise
    ranks.leave()
