"""What has to be set before any test imports torch, and the counting of the reliability matrix."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pluggy
import pytest
from hypothesis import HealthCheck, settings

from tests.support.matrix import Matrix, Tally

_MATRIX = pytest.StashKey[Matrix]()

# The models here are tiny. Two threads that wait for one another in a loop, each taking the core
# that the other needs, train them hundreds of times slower on a busy machine than one does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes is a matter of what else the machine does.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")

# A shell starts what runs in the background with these ignored, and charlm leaves ignored signals
# alone: the tests that send them need them as they are in the foreground.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The matrix of docs/reliability.md: print it, and its nightly counts."""
    parser.addoption("--matrix", action="store_true", help="print the reliability matrix")
    parser.addoption("--nightly", action="store_true", help="ten times as many cases of each row")


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the results, and know the markers."""
    config.addinivalue_line("markers", "row(name): this test backs a row of the reliability matrix")
    config.addinivalue_line("markers", "slow: this test takes seconds; make fast leaves it out")
    config.stash[_MATRIX] = Matrix(nightly=config.getoption("--nightly"))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the directory that the fixture ``folder`` of a test file has made."""
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts the cases of a test that is marked with the row it backs."""
    marker = request.node.get_closest_marker("row")
    assert marker is not None, "a test that counts must name its row"
    matrix = request.config.stash[_MATRIX]
    return Tally(matrix.result(marker.args[0]), nightly=matrix.nightly)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """Note failures and seconds of the rows."""
    outcome = yield
    marker = item.get_closest_marker("row")
    if marker is not None:
        result = item.config.stash[_MATRIX].result(marker.args[0])
        result.failures += outcome.get_result().failed
        result.seconds += call.duration


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the matrix where it was asked for."""
    if not config.getoption("--matrix"):
        return
    matrix = config.stash[_MATRIX]
    terminalreporter.write_line("")
    for line in (*matrix.table(), *matrix.problems()):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With --matrix a row of which too little was run fails the whole run."""
    if session.config.getoption("--matrix") and session.config.stash[_MATRIX].problems():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
