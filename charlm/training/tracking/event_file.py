"""EventFile: the figures of a training in a file that TensorBoard shows.

Records and protocol buffers are tensorboardX's. Its SummaryWriter is not used: that writes in a
thread of its own, where an error of the disk ends the thread and whoever waits for it.
"""

import os
import time
from pathlib import Path
from typing import Any

from charlm.checkpoints.directory import TENSORBOARD

_VERSION = "brain.Event:2"  # of the format, the first record of each file


class EventFile:
    """A new file in the run's directory ``tensorboard``, opened with ``with``; it logs dicts.

    Begun at a step other than 0 it has TensorBoard forget the figures of later steps, which will be
    logged again. Raises OSError, and ValueError for a directory that is a link.
    """

    def __init__(self, run: Path, step: int) -> None:
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import RecordWriter

        self._events, self._summaries = event_pb2, summary_pb2
        folder = run.resolve() / TENSORBOARD
        if folder.is_symlink():
            raise OSError(f"{folder} is a link")
        folder.mkdir(exist_ok=True)
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{now % 10**9:09}.{os.getpid()}.charlm"
        self._writer = RecordWriter(str(folder / name))
        self._write(file_version=_VERSION)
        if step:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=step + 1, session_log=start)

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def __call__(self, values: dict[str, Any]) -> None:
        """Write all numbers of a line of the log by their names, at its step."""
        figures = [
            self._summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if name != "step" and type(value) in (int, float)
        ]
        self._write(step=values["step"], summary=self._summaries.Summary(value=figures))

    def _write(self, **fields: Any) -> None:
        self._writer.write(self._events.Event(wall_time=time.time(), **fields).SerializeToString())
        self._writer.flush()
