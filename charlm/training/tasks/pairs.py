"""A model of pairs: it reads a source and writes a target of another length."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from charlm.checkpoints import directory
from charlm.checkpoints.pairs import PairsCheckpoint, partner_files, tokenizer_files
from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.counts.ngram import check_order
from charlm.counts.pair_partner import PairPartner
from charlm.engines.several import ALONE, Several
from charlm.engines.torch_pairs import TorchPairs, read_log_probs
from charlm.equations.parameters import Arrays
from charlm.errors import FieldError
from charlm.inference.pairs.beam import search
from charlm.inference.pairs.mixed_search import with_weight
from charlm.models.translator import Translator
from charlm.network_config import PairsConfig
from charlm.nn.network import to_arrays
from charlm.nn.objectives import Targets
from charlm.nn.pair_batches import PairBatch, groups, read
from charlm.nn.pairs import EncoderDecoder
from charlm.text.pairs import Pair
from charlm.training import kinds
from charlm.training.epochs import groups_in_turn
from charlm.training.optimizer import make_optimizer, moments, rate_of, refusing, restore_parameters
from charlm.training.pace.measuring import likely_precision
from charlm.training.recipe import stack_summary
from charlm.training.request import Request, Say
from charlm.training.state import TrainingState, set_counters
from charlm.training.task import Step, Task, Validated
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.pairs import (
    PairMaterial,
    PairSides,
    Readers,
    joint_ngrams,
    learn_readers,
    pair_material,
    places_of,
    read_pair_sides,
)

_VALIDATIONS = 20
_FEWEST_STEPS = 300  # that a default budget asks for where there are few pairs
_MOST_EPOCHS = 60.0
_WRITTEN = 1000  # sources that a validation writes targets for, at most
_WRITTEN_AT_ONCE = 250
_WEIGHED = 200  # sources whose targets joint n-grams rank together with the network


@dataclasses.dataclass(kw_only=True)
class PairsState(TrainingState):
    """All that changes while training.

    accuracy is the share of held-out sources written right at the last validation, by the network
    alone; the logged sums are of the steps since then. partner are the joint n-grams with
    the share that was fitted then.
    """

    module: EncoderDecoder
    accuracy: float | None = None
    best_accuracy: float | None = None
    logged_nats: float = 0.0
    logged_targets: int = 0
    partner: PairPartner | None = None

    def forget_best(self) -> None:
        """Have no best step, and no figures of one."""
        super().forget_best()
        self.accuracy = self.best_accuracy = None


class Pairs(Task[PairsConfig, PairsState, PairMaterial, PairSides, PairsCheckpoint]):
    """P(target given source)."""

    declared = kinds.PAIRS
    shape = PairsConfig
    kind = "translator"
    targets = "tokens"
    loss = "accuracy"

    # What is asked, read and chosen

    def check(self, request: Request) -> None:
        """Raise UsageError for what cannot be, before anything is read."""
        places_of(request)
        if request.ngram is not None:
            check_order(request.ngram)
        if request.shared_vocabulary and request.target_level not in (
            None,
            request.level or "char",
        ):
            raise FieldError("target_level", "is that of sources where both share a vocabulary.")
        self.shape(**{"vocab_size": 3, "source_vocab_size": 3} | request.model)

    def read(self, request: Request, say: Say, given: TextsInMemory | None = None) -> PairSides:
        """Pairs, some of their sources held out."""
        return read_pair_sides(request, say, given)

    def prepare(self, request: Request, texts: PairSides, say: Say) -> PairMaterial:
        """Learn a tokenizer for each side; and the pairs as ids."""
        material = pair_material(texts, learn_readers(request, texts, say))
        if request.ngram is None:
            return material
        partner = joint_ngrams(material, request.ngram, say)
        return dataclasses.replace(material, partner=partner)

    def prepare_again(
        self, request: Request, texts: PairSides, saved: PairsCheckpoint
    ) -> PairMaterial:
        """The pairs as ids by a saved step's tokenizers."""
        del request
        readers = Readers(saved.source_tokenizer, saved.tokenizer)
        partner = None if saved.partner is None else PairPartner(saved.partner.joint)
        return pair_material(texts, readers, partner)

    def choose(
        self, request: Request, material: PairMaterial, passes: float | None = None
    ) -> tuple[PairsConfig, TrainingConfig, str]:
        """Sizes and settings."""
        del passes
        number = len(material.pairs.lengths)
        sizes = _sizes(number, request.seconds or self.declared.seconds)
        model = self.shape(
            **{
                "vocab_size": material.readers.target.vocab_size,
                "source_vocab_size": material.readers.source.vocab_size,
                "shared_vocabulary": request.shared_vocabulary,
                **sizes.model,
                **request.model,
            }
        )
        config = {
            "num_steps": 1,
            "batch_size": sizes.batch_size,
            "learning_rate": sizes.learning_rate,
            "weight_decay": 0.01,
            **request.training,
            "seed": request.seed,
        }
        config.setdefault("end_learning_rate", config["learning_rate"] * 0.01)
        stack = stack_summary(model.cell, model.num_layers, model.hidden_size, both_ways=False)
        attention = "no" if model.attention == "none" else model.attention
        summary = (
            f"encoder (both ways) and decoder, each a {stack}, {attention} attention, dropout "
            f"{model.dropout:g} (chosen for {number:,} pairs)"
        )
        return model, TrainingConfig(**config), summary

    def precisions(self, config: PairsConfig, device: str) -> tuple[str, ...]:
        """Both."""
        likely = likely_precision(config.hidden_size, device)
        return (likely, "bf16" if likely == "fp32" else "fp32")

    def num_targets(self, material: PairMaterial) -> int:
        """Tokens of targets, <EOS> included."""
        return material.pairs.targets.num_tokens

    def steps_per_epoch(
        self, config: PairsConfig, training: TrainingConfig, material: PairMaterial
    ) -> int:
        """How many steps read every pair once."""
        del config
        return len(groups(material.pairs.lengths, training.batch_size))

    def most_epochs(self, request: Request, material: PairMaterial, steps_per_epoch: int) -> float:
        """Enough to learn from where there are few pairs."""
        del request, material
        return max(_MOST_EPOCHS, _FEWEST_STEPS / steps_per_epoch)

    def validations(
        self, config: PairsConfig, training: TrainingConfig, material: PairMaterial, epochs: float
    ) -> tuple[int, int]:
        """Always as many."""
        del config, training, material, epochs
        return _VALIDATIONS, 0

    # Steps

    def new_state(
        self, config: PairsConfig, training: TrainingConfig, device: torch.device | str = "cpu"
    ) -> PairsState:
        """A freshly initialised model."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            module = EncoderDecoder(config)
        module = module.to(device)
        optimizer = make_optimizer(module.named_parameters(), training)
        return PairsState(module=module, optimizer=optimizer)

    def objective(
        self, state: PairsState, training: TrainingConfig, material: PairMaterial
    ) -> Targets:
        """-log P of targets."""
        del material
        return Targets(state.module, precision=training.precision)

    def batches(
        self, state: PairsState, training: TrainingConfig, material: PairMaterial
    ) -> Iterator[PairBatch]:
        """The pairs of the step that comes next."""
        lengths = material.pairs.lengths
        ordered = functools.partial(groups, lengths, training.batch_size)
        for index in groups_in_turn(state, training.seed, ordered):
            yield read(material.pairs, index)

    def note(self, state: PairsState, taken: Step) -> None:
        """Add up what is logged."""
        if not taken.skipped:
            state.logged_nats += taken.loss * taken.num_targets
            state.logged_targets += taken.num_targets

    def rewind(self, state: PairsState) -> None:
        """Point at the first batch."""
        state.step = 0

    def validate(
        self,
        state: PairsState,
        training: TrainingConfig,
        material: PairMaterial,
        should_stop: Callable[[], bool],
        several: Several = ALONE,
    ) -> tuple[Validated | None, dict[str, Any]]:
        """The figures now: the share of sources that are written right decides, then the loss."""
        told = state.logged_nats / state.logged_targets if state.logged_targets else None
        validated: Validated | None = Validated(state.step, None, is_best=False)
        if material.valid is not None:
            nats = -read_log_probs(state.module, material.valid, should_stop, several=several)
            loss = float(nats.mean())
            if material.partner is not None and np.isfinite(loss):
                network = -np.add.reduceat(nats, material.valid.targets.starts[:-1])
                partner = material.partner.fitted(network, material.joint_log_probs)
                state.partner = _with_weight(state.module, partner, material)
            accuracy = _accuracy(state.module, material, _WRITTEN, several)
            validated = _judged(state, accuracy, loss) if np.isfinite(loss) else None
            state.worse_in_a_row += validated is None
        state.logged_nats, state.logged_targets = 0.0, 0
        line = {
            "train_loss_nats_per_token": told,
            "valid_accuracy": validated.accuracy if validated else None,
            "valid_loss_nats_per_token": validated.loss if validated else None,
            "learning_rate": rate_of(state, training, state.step - 1),
        }
        return validated, line

    # Files

    def weights(self, state: PairsState) -> Arrays:
        """All parameters."""
        return to_arrays(state.module)

    def files(
        self, state: PairsState, material: PairMaterial
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What turns text into ids."""
        about = {
            "kind": self.kind,
            "model": state.module.config.to_json(),
            "best_accuracy": state.best_accuracy,
            "best_loss_nats_per_token": state.best_loss,
        }
        files = tokenizer_files(*material.readers)
        partner = state.partner or material.partner
        if partner is not None:
            files |= partner_files(partner)
        return about, files

    def arrays(self, state: PairsState) -> Arrays:
        """The two moments of every parameter, by name."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in moments(state).items()}

    def put_back(
        self, state: PairsState, weights: Arrays, arrays: Arrays, counters: Mapping[str, Any]
    ) -> None:
        """Raises CheckpointError if they do not fit the model."""
        set_counters(state, counters)
        with refusing():
            restore_parameters(state, weights, arrays)

    def put_back_beside(self, state: PairsState, saved: PairsCheckpoint | None) -> None:
        """The joint n-grams with the share that they had."""
        state.partner = saved.partner if saved is not None else None

    def load(self, path: Path) -> PairsCheckpoint:
        """A step, verified."""
        return PairsCheckpoint.load(path)

    def reader_files(self, saved: PairsCheckpoint | PairMaterial) -> dict[str, bytes]:
        """Those of both tokenizers."""
        if isinstance(saved, PairMaterial):
            return tokenizer_files(*saved.readers)
        return tokenizer_files(saved.source_tokenizer, saved.tokenizer)

    def bytes_beside(self, material: PairMaterial) -> int:
        """Tokenizers, and joint n-grams."""
        size = super().bytes_beside(material)
        if material.partner is not None:
            size += sum(map(len, partner_files(material.partner).values()))
        return size

    # The end

    def finish(self, run: Run, material: PairMaterial, say: Say) -> str:
        """How good the best step is."""
        best = PairsCheckpoint.load(directory.best_step(run.path))
        info = best.info
        if best.partner is not None:
            pairs = _first(material, _WRITTEN)
            mixed = Translator(best).evaluate(pairs).rates.whole
            say(
                f"mixed with its n-grams (share {best.partner.share:.2f}): accuracy "
                f"{1 - mixed:.4f}; the network alone:"
            )
        accuracy, loss = info.get("best_accuracy"), info.get("best_loss_nats_per_token")
        if accuracy is None or loss is None:
            return "accuracy: none, no validation gave a finite loss"
        return f"accuracy: {accuracy:.4f}, {loss:.4f} nats per token (step {info['step']})"


def _with_weight(
    module: EncoderDecoder, partner: PairPartner, material: PairMaterial
) -> PairPartner:
    """The joint n-grams with the weight that suits the first held-out sources."""
    references: dict[str, set[tuple[int, ...]]] = {}
    for pair in _first(material, _WEIGHED):
        target = tuple(material.readers.target.encode(pair.target).tolist())
        references.setdefault(pair.source, set()).add(target)
    eos = np.int32(material.readers.source.eos_id)
    sources = [np.append(material.readers.source.encode(one), eos) for one in references]
    longest = max(len(target) for several in references.values() for target in several)
    was_training = module.training
    module.eval()
    try:
        return with_weight(
            TorchPairs(module),
            partner,
            sources,
            list(references.values()),
            max_tokens=longest + 1,
        )
    finally:
        module.train(was_training)


def _first(material: PairMaterial, most: int) -> list[Pair]:
    """All held-out pairs of the first sources."""
    sources = set(list(dict.fromkeys(pair.source for pair in material.held_out))[:most])
    return [pair for pair in material.held_out if pair.source in sources]


class _Sizes(NamedTuple):
    """What is chosen by the number of pairs and the time."""

    model: dict[str, Any]
    batch_size: int
    learning_rate: float


def _sizes(number: int, seconds: float) -> _Sizes:
    """Few pairs are read again and again; of many the time is what decides (bench/RESULTS.md)."""
    if number < 20_000 or seconds < 60:
        hidden = 64 if number < 1000 else 128 if number < 5000 else 256
        shape = {"hidden_size": hidden, "num_layers": 1, "dropout": 0.3, "input_dropout": 0.1}
        return _Sizes({"embedding_size": 64, **shape}, 64 if number >= 5000 else 16, 2e-3)
    hidden = 32 * round(7 * (seconds / 300) ** (1 / 3))
    often = seconds / number  # how often each can be read goes with this
    many = {
        "hidden_size": min(512, max(128, hidden)),
        "num_layers": 2,
        "dropout": 0.15 if often < 0.005 else 0.3,
        "attention": "multiplicative",
    }
    return _Sizes({"embedding_size": 64, **many}, 128, 2e-3)


def _accuracy(module: EncoderDecoder, material: PairMaterial, most: int, several: Several) -> float:
    """The share of the first held-out sources for which one of their targets is written."""
    targets: dict[str, list[str]] = {}
    for pair in _first(material, most):
        targets.setdefault(pair.source, []).append(pair.target)
    sources = list(targets)
    readers = material.readers
    # What becomes longer than any of the targets is wrong, however it ends.
    longest = max(len(readers.target.encode(one)) for s in sources for one in targets[s])
    was_training = module.training
    module.eval()
    try:
        wrong = np.zeros(len(sources), np.int64)
        with several.filling(wrong):
            for at in several.mine(range(0, len(sources), _WRITTEN_AT_ONCE)):
                some = sources[at : at + _WRITTEN_AT_ONCE]
                ids = [readers.source.encode(s) for s in some]
                rows = [np.append(row, np.int32(readers.source.eos_id)) for row in ids]
                found = search(TorchPairs(module), rows, beam=1, max_tokens=longest + 1)
                for place, ((best,), source) in enumerate(zip(found, some, strict=True), at):
                    wrong[place] = readers.target.decode(best.ids) not in targets[source]
    finally:
        module.train(was_training)
    return 1 - float(wrong.sum()) / len(sources)


def _judged(state: PairsState, accuracy: float, loss: float) -> Validated:
    """Figures, with best and patience brought up to date."""
    state.accuracy = accuracy
    best = (state.best_accuracy or 0.0, -(state.best_loss or 0.0))
    is_best = state.best_step is None or (accuracy, -loss) > best
    state.worse_in_a_row = 0 if is_best else state.worse_in_a_row + 1
    if is_best:
        state.best_accuracy, state.best_loss, state.best_step = accuracy, loss, state.step
    return Validated(state.step, loss, is_best, accuracy)
