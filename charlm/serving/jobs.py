"""What a worker is asked to do: to draw sequences, or to answer a question about texts.

Jobs are made in the event loop and done in a worker's thread (worker.py). What passes between the
two goes through an inbox, which wakes the event loop no more often than is useful.
"""

import asyncio
import collections
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from charlm.config import Adapt, SamplingConfig
from charlm.inference.drawing.lanes import Alternatives
from charlm.inference.sample import Sample
from charlm.tokenizers.prompt import Prompt


class Progress(NamedTuple):
    """What sequence number ``choice`` of a request goes on with: ids that were drawn.

    spelled is what the <UNK> among them stand for. The last one brings the sample as a whole, and
    the label that drew it, if it was drawn by one of several.
    """

    choice: int
    ids: list[int]
    spelled: list[str]
    alternatives: list[Alternatives]
    sample: Sample | None
    label: str | None


class Inbox:
    """What a worker tells a request."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._items: collections.deque[Progress | BaseException] = collections.deque()
        self._filled = asyncio.Event()

    def put(self, item: Progress | BaseException) -> None:
        """Leave something, in the worker's thread; ``wake`` is to be called in the loop's."""
        self._items.append(item)

    def wake(self) -> None:
        """Let the request look."""
        self._filled.set()

    async def get(self) -> list[Progress]:
        """All that has come since, at least one. Raises what the worker left as an error."""
        await self._filled.wait()
        self._filled.clear()
        found: list[Progress] = []
        while self._items:
            item = self._items.popleft()
            if isinstance(item, BaseException):
                raise item
            found.append(item)
        return found


class Draw:
    """Sequences that a request wants drawn: n after each of its prompts.

    The worker tells of tokens as they come if it is ``live``, of whole sequences otherwise. A
    request whose client has gone sets ``left``: what is left of it is not done.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        n: int,
        config: SamplingConfig,
        *,
        label: str | None,
        top: int | None,
        live: bool,
        adapt: Adapt = "off",
    ) -> None:
        self.prompts, self.n, self.config = prompts, n, config
        self.label, self.adapt, self.top, self.live = label, adapt, top, live
        self.inbox = Inbox()
        self.waiting = collections.deque(range(n * len(prompts)))  # choices not begun
        self.going = 0  # choices begun and not ended
        self.left = False
        self.samplers: dict[int, Any] = {}  # by prompt, the worker's own


class Call:
    """A question: ``run`` answers several at once whose keys are equal; weight is in characters."""

    def __init__(
        self,
        key: Hashable,
        payload: Any,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        weight: int = 0,
    ) -> None:
        self.key, self.payload, self.run, self.weight = key, payload, run, weight
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self.loop.create_future()
        self.left = False

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Hand over the answer, in the loop's thread."""
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)
