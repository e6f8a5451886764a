"""What learns as it reads: charlm beside compressors that do the same, on the same bytes.

python -m bench adaptive TEXT [SECONDS [WORDS]] trains on the first nine tenths of a text, 180
seconds if not told otherwise, and reads the last tenth; with WORDS also a model of words, for so
many seconds, which then stands beside the network. The figures are nats per character of what each
makes of that tenth, every character predicted before it is learned from. A compressor's is the
difference of two files, C(front + train + valid) - C(front + train): data/prose.txt stands in
front of both, because zpaq changes its tables with the size of its input and a difference across
such a change says nothing. pyppmd is in the dependency group ``bench``; zpaq is a program (Debian
has it) and is left out where there is none.
"""

import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import charlm
from bench import machine
from charlm.engines.adapting.stream import AdaptiveStream
from charlm.engines.dynamic import RATES, DynamicEvaluator
from charlm.engines.mixture import MixtureEngine
from charlm.models.base import TokenDistribution
from charlm.models.language_model import LanguageModel
from charlm.models.lettered import LetteredModel

FRONT = Path("data/prose.txt")
_SECONDS = 180.0
_ORDERS = (5, 6, 8)  # of PPMd
_MEMORY = 2**26  # bytes that it may use
_WORDS = 0.4  # their weight beside the network
Row = tuple[str, str, str, str]


def main(arguments: Sequence[str]) -> None:
    """Print the figures of all, the best last."""
    if not 1 <= len(arguments) <= 3:
        raise SystemExit("python -m bench adaptive TEXT [SECONDS [WORDS]]: which text?")
    text = Path(arguments[0]).read_text()
    seconds = float(arguments[1]) if len(arguments) > 1 else _SECONDS
    words = float(arguments[2]) if len(arguments) > 2 else 0.0
    cut = int(0.9 * len(text))
    print(machine.describe())
    parts = text[:cut], text[cut:]
    rows = [*_compressors(*parts), *_charlm(*parts, seconds, words)]
    print(f"{'':<60}{'class':>10}{'nats/char':>12}{'seconds':>10}")
    for name, kind, nats, took in rows:
        print(f"{name:<60}{kind:>10}{nats:>12}{took:>10}")


def _compressors(train: str, valid: str) -> list[Row]:
    """PPMd in several orders, and zpaq at its strongest where it is installed."""
    rows = []
    for order in _ORDERS:
        size, took = _code_length(lambda data, order=order: _ppmd(data, order), train, valid)
        rows.append(_row(f"PPMd, order {order}", "adaptive", size / len(valid), took))
    if shutil.which("zpaq"):
        size, took = _code_length(_zpaq, train, valid)
        rows.append(_row("zpaq -m5", "adaptive", size / len(valid), took))
    else:
        print("zpaq is not installed: left out")
    return rows


def _code_length(size_of: Callable[[bytes], int], train: str, valid: str) -> tuple[float, float]:
    """Nats for valid given train, and the seconds that both files took."""
    begun = time.perf_counter()
    before = FRONT.read_bytes() + train.encode()
    difference = size_of(before + valid.encode()) - size_of(before)
    return difference * 8 * math.log(2), time.perf_counter() - begun


def _ppmd(data: bytes, order: int) -> int:
    import pyppmd

    return len(pyppmd.compress(data, max_order=order, mem_size=_MEMORY))


def _zpaq(data: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text")
        path.write_bytes(data)
        archive = Path(folder, "text.zpaq")
        command = ["zpaq", "add", str(archive), str(path), "-m5", "-t1"]
        subprocess.run(command, check=True, capture_output=True)
        return archive.stat().st_size


def _charlm(train: str, valid: str, seconds: float, words: float) -> list[Row]:
    """A model trained for so long: as it is, mixed but frozen, and learning from what it reads.

    The same beside a model of words, where that is given seconds, too.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", train), ("valid", valid)):
            Path(folder, f"{name}.txt").write_text(part)

        def trained(name: str, seconds: float, **options: Any) -> LanguageModel:
            begun = time.perf_counter()
            lm = charlm.train(
                Path(folder, "train.txt"),
                valid=[Path(folder, "valid.txt")],
                split_on="file",
                seconds=seconds,
                root=folder,
                name=name,
                **options,
            )
            assert isinstance(lm, LanguageModel)
            print(f"charlm, {name}: trained in {time.perf_counter() - begun:.0f} s")
            return lm

        lm = trained("characters", seconds, adaptive=True)
        network: Any = lm.engines.networks.of("torch")
        rows = [
            _row("charlm: network and n-grams, shares", "static", *_shares(lm, valid)),
            *_mixtures(lm, network, valid),
        ]
        if words:
            other = LetteredModel(trained("words", words, level="word"), lm.tokenizer)
            rows.append(_row("charlm: words, read as characters", "static", *_shares(other, valid)))
            beside = MixtureEngine([network, other.engines.of("torch")], (1 - _WORDS, _WORDS))
            rows += _mixtures(lm, beside, valid, f"{_WORDS:.0%} words, ")
        return rows


def _shares(lm: TokenDistribution, valid: str) -> tuple[float, float]:
    """Nats per character of a model as it was trained, and the seconds."""
    begun = time.perf_counter()
    nats = -lm.evaluate([valid]).total_log_prob / len(valid)
    return nats, time.perf_counter() - begun


def _mixtures(lm: LanguageModel, network: Any, valid: str, what: str = "") -> list[Row]:
    """What is mixed by weights that are learned: from first ones, since those of the run have been
    learned from this very text."""
    adaptive = lm.checkpoint.adaptive
    assert adaptive is not None
    ids = [np.append(lm.tokenizer.encode(valid), lm.tokenizer.eos_id)]
    spelled = lm.evaluate([valid]).spelling_log_prob or 0.0
    start = adaptive.first_weights
    rows = []
    for name, kind, remembers, rate in (
        ("contexts of the training text, weights learned", "weights", False, None),
        ("contexts and weights learned", "adaptive", True, None),
        ("network, contexts and weights learned", "adaptive", True, RATES["char"]),
    ):
        begun = time.perf_counter()
        dynamic = None if rate is None else DynamicEvaluator(lm.model, rate=rate)
        stream = AdaptiveStream(network, adaptive, dynamic, remembers=remembers, weights=start)
        nats = -(float(stream.token_log_probs(ids)[0].sum()) + spelled) / len(valid)
        rows.append(_row(f"charlm: {what}{name}", kind, nats, time.perf_counter() - begun))
    return rows


def _row(name: str, kind: str, nats: float, took: float) -> Row:
    return name, kind, f"{nats:.4f}", f"{took:.1f}"
