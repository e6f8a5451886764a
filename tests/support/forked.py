"""The command line in processes of its own, at once: forked from one that has torch imported.

    with Forks() as forks:
        done = forks.charlm("train", "corpus.txt", at=folder, interrupt=("saving", [15], 2))

A process can be told to do something to itself at a certain moment: to signal itself in a certain
phase, to spoil the gradients of some steps. The moment is a call of a function, never a time.
"""

import base64
import contextlib
import gc
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PHASES = ("tokenizing", "first step", "mid step", "validating", "saving", "sampling")
# Of a labelled run, once it is trained.
CALIBRATING, KEEPING = "calibrating labels", "keeping what was calibrated"
_ROOT = Path(__file__).parents[2]
PACED_SECONDS = 80.0
_untold: list[str] = []  # in a child: losses, to be told at its end
_MOST_SECONDS = 100.0
# A process that has seen a GPU cannot fork.
_PLAIN = {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "CUDA_VISIBLE_DEVICES": ""}


class Done(NamedTuple):
    """How a process ended.

    code is negative where a signal ended it. screen is what it wrote to a terminal, out and err
    what it wrote to files. seconds is the time of the processor since the first signal that it
    gave itself, and in_step the step that it was in then. losses are (step, loss, gradient norm),
    exactly. alone says that no process of its session was left.
    """

    code: int
    out: str
    err: str
    screen: bytes
    seconds: float | None
    in_step: int | None
    losses: list[tuple[int, str, str]]
    alone: bool


class Forks:
    """The process that forks; one job at a time."""

    def __enter__(self) -> "Forks":
        environment = {**os.environ, **_PLAIN}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.support import forked; forked.serve()"],
            cwd=_ROOT,
            env={**environment, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def charlm(self, *arguments: str, at: Path, **options: Any) -> Done:
        """Run ``charlm`` in a directory.

        interrupt is (phase, signals, n): send them at the n-th time that the phase is there (from
        1). With ``terminal`` its streams are a terminal. ``kill_after`` so many seconds it is
        killed. ``average`` is TrainingConfig.average_decay; ``poison`` (value, steps): in these
        steps the loss is multiplied by the value; ``validate_seconds`` is how long a
        validation may take when told to stop. ``pace`` are seconds that steps take by turns, ten
        steps each: a machine that other programs use now and then; the run has PACED_SECONDS.
        ``environment`` are variables that are set.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"arguments": arguments, "at": str(at), **options}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        reply["screen"] = base64.b64decode(reply["screen"])
        reply["losses"] = [tuple(loss) for loss in reply["losses"]]
        return Done(**reply)


def serve() -> None:
    """Fork for every line of stdin; a line of stdout says how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        _warm_up(Path(folder))
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            reply = _fork(job, Path(folder))
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _warm_up(folder: Path) -> None:
    """Import all that a first training and a first sample import."""
    import rich.progress  # noqa: F401

    from charlm import cli
    from charlm.engines import torch_cloze  # noqa: F401

    (folder / "corpus.txt").write_text("the cat sat on the mat\n" * 9)
    (folder / "work").mkdir()
    before = os.getcwd()
    os.chdir(folder / "work")
    for command in (
        "train ../corpus.txt --name run --steps 3 --hidden 4 --level subword --vocab-size 280",
        "sample --n 600",
    ):
        sys.argv = ["charlm", *command.split()]
        nowhere = (io.TextIOWrapper(io.BytesIO()) for _ in range(2))
        with (
            contextlib.redirect_stdout(next(nowhere)),
            contextlib.redirect_stderr(next(nowhere)),
            contextlib.suppress(SystemExit),
        ):
            cli.main()
    os.chdir(before)


def _fork(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    lifeline, end = os.pipe()  # the child tells its news there; it is closed when the child ends
    master = None
    if job.get("terminal"):
        child, master = pty.fork()
    else:
        child = os.fork()
    if not child:
        os.close(lifeline)
        _be_charlm(job, folder, end)
        raise AssertionError("not reached")
    os.close(end)
    news, screen = _attend(child, lifeline, master, job.get("kill_after"))
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = used.ru_utime + used.ru_stime
    try:
        os.killpg(child, 0)
        alone = False
    except ProcessLookupError:
        alone = True
    told = [json.loads(line) for line in news.splitlines() if line.endswith(b"}")]
    signalled = next((note for note in told if "signalled" in note), None)
    streams = [folder / name for name in ("out", "err")]
    out, err = (path.read_text() if path.exists() else "" for path in streams)
    return {
        "code": code,
        "out": out,
        "err": err,
        "screen": base64.b64encode(screen).decode(),
        "seconds": ended - signalled["signalled"] if signalled else None,
        "in_step": signalled["step"] if signalled else None,
        "losses": [note["loss"] for note in told if "loss" in note],
        "alone": alone,
    }


def _attend(
    child: int, lifeline: int, master: int | None, kill_after: float | None
) -> tuple[bytes, bytes]:
    """What the child tells and what it shows, read to its end."""
    said = {lifeline: b""} if master is None else {lifeline: b"", master: b""}
    living = set(said)
    deadline = time.monotonic() + (_MOST_SECONDS if kill_after is None else kill_after)
    while living:
        ready, _, _ = select.select(list(living), [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            deadline += _MOST_SECONDS
        for source in ready:
            try:
                data = os.read(source, 2**16)
            except OSError:  # so Linux tells that the other side of a terminal was closed
                data = b""
            said[source] += data
            if not data:
                living.remove(source)
                os.close(source)
    return said[lifeline], b"" if master is None else said[master]


def _be_charlm(job: dict[str, Any], folder: Path, end: int) -> None:
    """In the child: set everything up as a shell would, lay the wires, and go."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(job["at"])
    os.environ.update(job.get("environment", {}))
    if not job.get("terminal"):
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for good
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False))  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False))  # noqa: SIM115
    _lay_wires(job, end)
    sys.argv = ["charlm", *job["arguments"]]
    from charlm.cli import main

    code: Any = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    os.write(end, "".join(_untold).encode())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)  # the usual way out would be the one of the process that forked


def _lay_wires(job: dict[str, Any], end: int) -> None:
    """Let functions of charlm tell, signal or spoil when they are called."""
    from charlm import threads
    from charlm.cli.commands import sample
    from charlm.cli.output import meter
    from charlm.nn import objectives
    from charlm.nn.head import Head
    from charlm.nn.pairs import EncoderDecoder
    from charlm.tokenizers import subword
    from charlm.training import calibration, loop, resume
    from charlm.training.counted import alone
    from charlm.training.pace import measuring
    from charlm.training.tasks import causal, classifier, tagger
    from charlm.training.tasks import pairs as translator
    from charlm.training.trainer import Trainer

    phase, signals, at = job.get("interrupt", (None, (), 0))
    value, spoiled = job.get("poison", (1.0, ()))
    seen = dict.fromkeys((*PHASES, CALIBRATING, KEEPING, "step", "calibrating", "scoring"), 0)
    settled = False
    signalled = False

    def tell(**news: Any) -> None:
        os.write(end, json.dumps(news).encode() + b"\n")

    def here(name: str) -> None:
        nonlocal signalled
        seen[name] += 1
        if signalled or name != phase or seen[name] != at:
            return
        signalled = True
        tell(signalled=time.process_time(), step=seen["first step"])
        for number in signals:
            if threading.current_thread() is threading.main_thread():
                signal.raise_signal(number)
            else:
                os.kill(os.getpid(), number)

    def before(module: Any, function: str, name: str) -> None:
        genuine = getattr(module, function)

        def watched(*args: Any, **kwargs: Any) -> Any:
            here(name)
            return genuine(*args, **kwargs)

        setattr(module, function, watched)

    if "subword" in job["arguments"]:  # amid the work of SentencePiece, in its thread
        sentences = subword._sentences

        def told_sentences(*args: Any) -> Iterator[str]:
            for sentence in sentences(*args):
                here("tokenizing")
                yield sentence

        subword._sentences = told_sentences
    else:
        before(alone, "train_tokenizer", "tokenizing")
        before(classifier, "train_tokenizer", "tokenizing")
    before(tagger, "example_material", "tokenizing")
    before(translator, "pair_material", "tokenizing")
    before(translator.Pairs, "validate", "validating")
    before(calibration, "calibrate", CALIBRATING)
    before(measuring, "fastest", "calibrating")
    before(causal.Causal, "validate", "validating")
    before(sample, "out", "sampling")
    before(meter.Meter, "update", "scoring")

    trainers: list[Any] = []

    def clock() -> float:
        pace = job["pace"]
        return sum(pace[step // 10 % len(pace)] for step in range(trainers[-1].state.step))

    def fastest(task: Any, *_: Any) -> tuple[Any, float]:
        """Another precision every forty steps; as if each step took half a second."""
        step = trainers[-1].state.step if trainers else 0
        here("calibrating")
        return measuring.Way(("fp32", "bf16")[step // 40 % 2], 1), 100.0

    if "pace" in job:
        measuring.fastest = fastest
        threads.neighbours = lambda *_: 0

    genuine_settle = Trainer.settle.__func__  # type: ignore[attr-defined]

    def settle(*args: Any, **kwargs: Any) -> Any:
        nonlocal settled
        found = genuine_settle(*args, **kwargs)
        settled = True
        if "average" in job:
            config = found.training.to_json() | {"average_decay": job["average"]}
            found.training = type(found.training)(**config)
            found.state = found.task.new_state(found.config, found.training, "cpu")
        if "pace" in job:  # what was measured, and the time that it took, are the same each time
            plan = found.training.plan.to_json() | {"end": PACED_SECONDS, "rate": 2.0}
            fields = {"num_steps": 160, "validate_every": 20, "precision": "fp32", "threads": 1}
            config = found.training.to_json() | fields | {"plan": plan}
            found.training = type(found.training).from_json(config)
        return found

    def restores(genuine: Any) -> Any:
        def restore(*args: Any) -> Any:
            nonlocal settled
            state = genuine(*args)
            settled = True
            seen["first step"] = state.step
            return state

        return restore

    def watched_loss(genuine: Any) -> Any:
        def cross_entropy(features: Any, *args: Any) -> Any:
            found = genuine(features, *args)
            if not settled:  # a speller's
                return found
            here("first step")
            features.register_hook(lambda _: here("mid step"))
            if seen["first step"] not in spoiled:
                return found
            return tuple(one * value for one in found) if type(found) is tuple else found * value

        return cross_entropy

    def watched_scores(module: Any, _: Any, scores: Any) -> Any:  # of a head or a translator
        nonlocal settled
        if not module.training:
            here("validating")
            return scores
        settled = True
        here("first step")
        scores.register_hook(lambda _: here("mid step"))
        return scores * value if seen["first step"] in spoiled else scores

    def watching(genuine: Any) -> Any:
        def make(self: Any, *args: Any) -> None:
            genuine(self, *args)
            scoring = self.softmax if isinstance(self, Head) else self
            scoring.register_forward_hook(watched_scores)

        return make

    def fits(genuine: Any) -> Any:
        def fit(*args: Any, **kwargs: Any) -> Iterator[Any]:
            if "pace" in job:
                trainers.append(args[0])
                kwargs["clock"] = clock
            for event in genuine(*args, **kwargs):
                if type(event).__name__ == "Step":
                    seen["step"] = event.step - 1
                    norm = getattr(event, "grad_norm", 0.0)
                    loss = (event.step, event.loss.hex(), norm.hex())
                    _untold.append(json.dumps({"loss": loss}) + "\n")
                    here("step")
                yield event

        return fit

    def fsync(_: int) -> None:  # no power is cut here: there is nothing to wait for
        if seen[CALIBRATING]:
            here(KEEPING)
        elif settled and seen["first step"]:
            here("saving")

    Trainer.settle = classmethod(settle)  # type: ignore[assignment]
    Trainer.train = fits(Trainer.train)  # type: ignore[method-assign]
    resume.restore = restores(resume.restore)
    for kind in (Head, EncoderDecoder):
        kind.__init__ = watching(kind.__init__)
    os.fsync = fsync
    for name in ("cross_entropy", "softened_cross_entropy"):
        setattr(objectives, name, watched_loss(getattr(objectives, name)))
    loop.SECONDS_TO_VALIDATE = job.get("validate_seconds", loop.SECONDS_TO_VALIDATE)
