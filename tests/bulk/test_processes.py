"""Laws of several processes behind one stream: order, few ahead, errors, and none left over."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from charlm.bulk.processes import Processes
from charlm.errors import CharlmError, FieldError, TextError
from charlm.text.portions import Mapped, in_turn
from tests.support import bulk


@pytest.fixture(scope="module")
def three() -> Iterator[Processes]:
    """Three processes that the tests share."""
    with Processes(3) as processes:
        yield processes


def pids_of(processes: Processes) -> list[int]:
    """Which processes they are."""
    return [place.process.pid for place in processes._places]


def is_there(pid: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_come_in_the_order_of_the_portions(three: Processes) -> None:
    """As they do from one process, however long each takes; and again of other work."""
    expected = [number * number for number in range(40)]
    assert list(in_turn(bulk.squared, range(40))) == expected
    for _ in range(2):
        assert list(three(bulk.squared, range(40))) == expected
    assert list(three(bulk.squared, [])) == []
    assert list(three(bulk.squared, [3])) == [9]
    counted = list(three(bulk.Counting(), range(30)))
    assert [portion for *_, portion in counted] == list(range(30))
    assert {pid for pid, *_ in counted} <= {*pids_of(three)}
    assert len({pid for pid, *_ in counted}) > 1


@pytest.mark.parametrize("is_alone", [True, False])
def test_few_portions_are_read_ahead(three: Processes, is_alone: bool) -> None:
    """Two for each process at most, so memory does not grow with the stream."""
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield number

    mapped: Mapped = in_turn if is_alone else three
    for given, _ in enumerate(mapped(bulk.squared, numbers())):
        assert taken - given <= (1 if is_alone else 6)
    assert taken == 60


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_is_at_hand_comes_before_a_pause(three: Processes, is_alone: bool) -> None:
    """None says that more may be long in coming: nothing waits for it."""
    given: list[int] = []

    def numbers() -> Iterator[int | None]:
        for number in range(8):
            yield number
            if number % 3 == 2:
                yield None
                assert given == [one * one for one in range(number + 1)]
        yield None

    mapped: Mapped = in_turn if is_alone else three
    for one in mapped(bulk.squared, numbers()):
        given.append(one)
    assert given == [number * number for number in range(8)]


def test_parts_of_a_sequence_go_to_one_process(three: Processes) -> None:
    """In their order, with what was kept of those before; other portions go elsewhere."""
    portions = [
        part
        for sequence in range(1, 4)
        for part in [*(bulk.Part(sequence, value) for value in range(9)), *"ab"]
    ]
    found = list(three(bulk.Counting(), portions))
    assert [portion for *_, portion in found] == portions
    for sequence in range(1, 4):
        own = [(pid, count) for pid, count, p in found if getattr(p, "part_of", 0) == sequence]
        assert len({pid for pid, _ in own}) == 1
        assert [count for _, count in own] == sorted(count for _, count in own)


def test_large_messages_pass_in_both_directions(three: Processes) -> None:
    """Neither end waits for the other while that one writes, too."""
    data = [bytes([number]) * 3_000_000 for number in range(8)]
    assert list(three(bulk.doubled, data)) == [one * 2 for one in data]


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (6, TextError, "six is too many."),
        (7, FieldError, "jobs must be less."),
        (8, RuntimeError, "OddError: 1"),
        (9, MemoryError, ""),
    ],
)
def test_an_error_is_raised_at_its_place(
    three: Processes, number: int, kind: type[Exception], told: str
) -> None:
    """What comes before it is given out; it is the error itself, and says where it was raised."""
    given: list[int] = []
    with pytest.raises(kind) as caught:
        given.extend(three(bulk.refusing, [1, 2, 3, number, 4, 5]))
    assert given == [1, 2, 3]
    assert type(caught.value) is kind
    assert str(caught.value) == told
    assert "in refusing" in str(caught.value.__cause__)
    if isinstance(caught.value, FieldError):
        assert (caught.value.field, caught.value.what) == ("jobs", "must be less.")
    assert list(three(bulk.squared, range(9))) == [one * one for one in range(9)]  # as ever


def test_an_error_of_reading_comes_after_what_was_read(three: Processes) -> None:
    """As where each portion is done before the next is read."""

    def numbers() -> Iterator[int]:
        yield from range(4)
        raise TextError("line 5 is broken.")

    for mapped in (in_turn, three):
        given: list[int] = []
        with pytest.raises(TextError, match="line 5"):
            given.extend(mapped(bulk.squared, numbers()))
        assert given == [0, 1, 4, 9]


def test_work_that_cannot_be_unpacked_is_an_error(three: Processes) -> None:
    """Not a wait for ever."""
    with pytest.raises(ImportError):
        list(three(Missing(), [1]))


class Missing:
    """Work that another process cannot import."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return __import__, ("charlm.no_such_module",)

    def __call__(self, portion: int) -> int:
        """Never called."""
        return portion


def test_a_killed_process_is_an_error_and_no_wait() -> None:
    """In a sentence; none of the others is left."""
    with Processes(2) as processes:
        pids = pids_of(processes)
        given: list[int] = []
        with pytest.raises(CharlmError, match=r"one of 2 processes was killed \(SIGKILL\)"):
            given.extend(processes(bulk.deadly, range(100)))
        assert given == list(range(len(given)))
        assert len(given) <= 5
    assert not any(map(is_there, pids))


def test_no_process_outlives_the_with() -> None:
    """Not one that is at work, nor where the ``with`` is left by an error."""
    begun = time.monotonic()
    pids = []
    with contextlib.suppress(KeyboardInterrupt), Processes(2) as processes:
        pids = pids_of(processes)
        results = processes(bulk.slow, [0.0, 60.0, 60.0, 60.0])
        assert next(results) == 0
        raise KeyboardInterrupt
    assert len(pids) == 2
    assert not any(map(is_there, pids))
    assert time.monotonic() - begun < 30


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals can't be held back")
def test_signals_are_left_to_the_one_that_sends_the_work() -> None:
    """Ctrl-C reaches all of a terminal's processes; those at work go on until they are ended."""
    with Processes(2) as processes:
        for pid in pids_of(processes):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, number)
        assert list(processes(bulk.squared, range(9))) == [one * one for one in range(9)]
