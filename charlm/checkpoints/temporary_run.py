"""TemporaryRun: a directory for a run that is kept for as long as something of it is in use."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Self


class TemporaryRun:
    """A directory that is deleted when nothing that came of it is left, or at exit."""

    def __init__(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="charlm-"))
        self.path = home / "run"
        _THERE[self.path] = self
        weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)

    @classmethod
    def at(cls, path: Path) -> "TemporaryRun | None":
        """The temporary run of this path; None if it is none."""
        return _THERE.get(path)

    def keep_for(self, holder: object) -> Self:
        """Stay for as long as ``holder`` is in use."""
        weakref.finalize(holder, _drop, self)
        return self


_THERE: weakref.WeakValueDictionary[Path, TemporaryRun] = weakref.WeakValueDictionary()


def _drop(_: TemporaryRun) -> None:
    """The last one to hold it is gone."""
