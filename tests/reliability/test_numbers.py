"""A number is the same however it was come by, and drawn text is what the model says it is.

Rows L2, L4 and L7.
"""

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.config import LEVELS, SamplingConfig
from charlm.engines import numpy_lm, torch_passes
from charlm.engines.protocol import Engine, Ids
from charlm.equations import language_model
from charlm.inference.evaluate import summarise
from charlm.inference.sample import BATCH_SIZE, Sampler
from charlm.inference.score import score_texts
from charlm.text import portions
from charlm.text.streaming import Piece
from charlm.tokenizers.base import EOS_ID, UNK_ID, Tokenizer
from tests.support.matrix import Tally
from tests.support.sampling import heard
from tests.support.tiny import chi_square_p, engines_of, tokenizer_of

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "to", "be", "or", "not", "dog", "café")
TOLERANCE = 1e-5  # nats a token
A_MILLION = 1_000_000


def sentence(rng: random.Random, most: int) -> str:
    """Up to so many words, now and then one that no tokenizer knows."""
    words = rng.choices([*WORDS, "zyx", "Ωμέγα"], k=rng.randrange(most))
    return " ".join(words) + rng.choice(("", ".", "!\n", " "))


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    """One for each level."""
    return {level: tokenizer_of(level) for level in LEVELS}


@pytest.fixture(scope="module")
def engines(tokenizers: dict[str, Tokenizer]) -> dict[str, tuple[Engine, Engine]]:
    """For each level a random model on both engines."""
    return engines_of(tokenizers)


def closed(tokenizer: Tokenizer, text: str) -> Ids:
    """The ids of a text, <EOS> behind."""
    return np.append(tokenizer.encode(text), np.int32(EOS_ID))


def each(engine: Engine, sequences: Sequence[Ids]) -> list[np.ndarray]:
    """log P of the tokens of sequences that are scored together, sequence by sequence."""
    log_probs, _ = engine.token_log_probs(sequences)
    return np.split(log_probs, np.cumsum([len(ids) for ids in sequences])[:-1])


def in_pieces(engine: Engine, ids: Ids, rng: random.Random) -> np.ndarray:
    """log P of a sequence that is read in pieces of any length."""
    parts, state, at = [], None, 0
    while at < len(ids):
        size = rng.choice((0, 1, 2, 7, 50, 300))
        found, state = engine.read_on(ids[at : at + size], state)
        parts.append(found)
        at += size
    return np.concatenate(parts)


@pytest.mark.row("L2")
@pytest.mark.parametrize("level", LEVELS)
def test_a_score_is_its_texts_alone(
    level: str,
    tokenizers: dict[str, Tokenizer],
    engines: dict[str, tuple[Engine, Engine]],
    monkeypatch: pytest.MonkeyPatch,
    tally: Tally,
) -> None:
    """Neither chunk and batch sizes nor neighbours, their order and the engine change log P.

    By more than 1e-5 nats a token.
    """
    rng = random.Random(1)
    count = tally.wanted({"char": 66, "word": 67, "subword": 67}[level])
    lengths = (3, 12, 60, 400)
    tokenizer = tokenizers[level]
    texts = [closed(tokenizer, sentence(rng, lengths[i % 4])) for i in range(count)]
    alone = [each(engines[level][0], [ids])[0] for ids in texts]
    found: list[list[np.ndarray]] = [[] for _ in texts]
    for engine in engines[level]:
        for window, tokens, logits in ((256, 16_384, 2**22), (7, 40, 100), (64, 500, 5_000)):
            monkeypatch.setattr(torch_passes, "_WINDOW", window)
            monkeypatch.setattr(torch_passes, "_TOKENS", tokens)
            monkeypatch.setattr(torch_passes, "_LOGITS", logits)
            monkeypatch.setattr(numpy_lm, "_LOGITS", logits)
            order = rng.sample(range(count), count)
            size = rng.choice((3, 17, count))
            for at in range(0, count, size):
                batch = order[at : at + size]
                scored = each(engine, [texts[index] for index in batch])
                for index, log_probs in zip(batch, scored, strict=True):
                    found[index].append(log_probs)
        for index, ids in enumerate(texts):
            found[index].append(in_pieces(engine, ids, rng))
    for first, others in zip(alone, found, strict=True):
        assert len(others) == 8
        for log_probs in others:
            assert np.abs(log_probs - first).max() <= TOLERANCE
        tally.add()


class Recorder:
    """An engine that adds up, exactly, the log-probabilities of all tokens that it gives."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sums: list[float] = []
        self.tokens = 0

    @property
    def exact(self) -> float:
        """The sum."""
        return math.fsum(self._sums)

    def _note(self, log_probs: np.ndarray) -> np.ndarray:
        self.tokens += len(log_probs)
        self._sums.append(math.fsum(log_probs))
        return log_probs

    def token_log_probs(self, sequences: Sequence[Ids]) -> tuple[np.ndarray, None]:
        """As the engine's."""
        return self._note(self._engine.token_log_probs(sequences)[0]), None

    def read_on(self, ids: Ids, state: Any = None) -> tuple[np.ndarray, Any]:
        """As the engine's."""
        log_probs, state = self._engine.read_on(ids, state)
        return self._note(log_probs), state


def pieces(level: str, tokens: int, seed: int = 2) -> Iterator[Piece]:
    """A text of so many tokens and a few more, never in memory as a whole.

    At character level it is one sequence, else lines.
    """
    rng = random.Random(seed)
    made, words = 0, 200 if level == "char" else 20
    while made < tokens:
        text = " ".join(rng.choices(WORDS, k=words))
        made += len(text) if level == "char" else words + 1
        yield Piece(text + " ", ends=level != "char" or made >= tokens)


def peak() -> int | None:
    """Bytes of memory that this process has had at most since the last call; Linux tells."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


@pytest.mark.row("L4")
@pytest.mark.parametrize("level", LEVELS)
def test_a_million_tokens_add_up(
    level: str,
    tokenizers: dict[str, Tokenizer],
    engines: dict[str, tuple[Engine, Engine]],
    monkeypatch: pytest.MonkeyPatch,
    tally: Tally,
) -> None:
    """log P of a text of a million tokens is the exact sum of its tokens', to 1e-6 of it.

    And twice the text takes no more memory.
    """
    monkeypatch.setattr(portions, "_MOST_CHARACTERS", 2**17)  # what is longer is read in parts
    for seed in range(tally.wanted(1)):
        peaks = []
        for part in (A_MILLION // 2, A_MILLION):
            peak()
            recorder = Recorder(engines[level][1])
            text = pieces(level, part, seed)
            *_, found = summarise(text, tokenizers[level], lambda _: recorder)  # noqa: B023
            peaks.append(peak())
            assert part <= found.tokens == recorder.tokens < 3 * part
            assert abs(found.total_log_prob - recorder.exact) <= 1e-6 * abs(recorder.exact)
        half, whole = peaks
        if half is not None and whole is not None:
            assert whole - half < 40 * 2**20  # allocators keep some; tokens kept are 100 bytes each
        tally.add()


def test_the_score_of_one_long_text_is_the_sum_of_its_tokens(
    tokenizers: dict[str, Tokenizer], engines: dict[str, tuple[Engine, Engine]]
) -> None:
    """As a user sees it: the total of a text and the figures of --per-token."""
    text = "".join(piece.text for piece in pieces("char", 50_000))
    for level in LEVELS:
        engine = engines[level][1]
        (score,) = score_texts(engine, tokenizers[level], [text], per_token=True)
        assert score.tokens is not None
        exact = math.fsum(token.log_prob for token in score.tokens)
        assert abs(score.total_log_prob - exact) <= 1e-9 * abs(exact)


def outcomes(
    engine: Engine, steps: int, config: SamplingConfig, begun: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every sequence of so many tokens, or fewer and <EOS>, with its probability."""
    logits = engine.next_logits(np.array(begun, dtype=np.int64)).astype(np.float64)
    logits = language_model.log_softmax(logits)
    if config.unknown == "resample":
        logits[UNK_ID] = -np.inf
    probs = np.exp(language_model.log_softmax(logits / config.temperature))
    for token, probability in enumerate(probs.tolist()):
        ids = (*begun, token)
        if token == EOS_ID or len(ids) == steps:
            yield ids, probability
        elif probability:
            for rest, conditional in outcomes(engine, steps, config, ids):
                yield rest, probability * conditional


@pytest.mark.row("L7")
@pytest.mark.parametrize(
    ("level", "which", "steps", "options"),
    [
        ("char", 1, 4, {"unknown": "keep"}),
        ("word", 0, 3, {"unknown": "resample", "temperature": 1.5}),
        ("subword", 1, 2, {"temperature": 0.7}),
    ],
)
def test_sampled_sequences_are_as_frequent_as_likely(
    level: str, which: int, steps: int, options: dict[str, Any], tally: Tally
) -> None:
    """In 100,000 tokens each beginning of a text comes as often as the model says: chi-square.

    So each token has its probability after what was drawn before it.
    """
    tokenizer = tokenizer_of(level, ["ab ba", "a b"])
    engine = engines_of({level: tokenizer})[level][which]
    config = SamplingConfig(max_tokens=steps, seed=7, **options)
    expected = dict(outcomes(engine, steps, config))
    assert math.fsum(expected.values()) == pytest.approx(1, abs=1e-9)
    wanted = tally.wanted(100_000)
    mean = math.fsum(p * len(ids) for ids, p in expected.items())
    number = math.ceil(1.01 * wanted / mean)
    drawn: list[list[int]] = [[] for _ in range(number)]
    samples = heard(
        Sampler(engine, tokenizer),
        number,
        config,
        batch_size=BATCH_SIZE,
        on_token=lambda index, token: drawn[index].append(token),
    )
    for sample in samples:
        assert sample.num_tokens == len(drawn[sample.index])
    counts = dict.fromkeys(expected, 0)
    for ids in drawn:
        counts[tuple(ids)] += 1
    probs = np.array(list(expected.values()))
    assert chi_square_p(np.array(list(counts.values())), probs) > 1e-4
    assert sum(map(len, drawn)) >= wanted
    tally.add(wanted)
