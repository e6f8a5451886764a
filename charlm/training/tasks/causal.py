"""A language model that reads from left to right, conditional on labels where there are some."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charlm import metrics
from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint, known_to_bytes
from charlm.checkpoints.run import Run
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.config import TrainingConfig
from charlm.counts import interpolation, ngram
from charlm.counts.interpolation import Partner
from charlm.engines.several import ALONE, Several
from charlm.engines.torch_passes import quick_log_probs, token_log_probs
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, UsageError
from charlm.inference.labels import Labels
from charlm.network_config import CausalConfig, CountsConfig, LanguageConfig
from charlm.nn.causal import RecurrentLM, from_arrays
from charlm.nn.network import Network, to_arrays
from charlm.text.tokens import TokenizedText
from charlm.training import calibration, kinds, recipe
from charlm.training.optimizer import (
    check_finite,
    rate_of,
)
from charlm.training.pace.measuring import likely_precision
from charlm.training.request import Request, Say
from charlm.training.speller import learned
from charlm.training.state import set_counters
from charlm.training.task import Step, Task, Validated
from charlm.training.tasks import adapting
from charlm.training.texts.material import TextMaterial, partner_of, text_material
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.sequences import Texts, read_texts
from charlm.training.texts.streamed.place import Place
from charlm.training.texts.streamed.texts import StreamedTexts, read_streamed
from charlm.training.window_steps import WindowState, WindowSteps, weights_for_use

_CHEAPER_FORWARD = 0.35  # what a token costs in validation, against one in training
_VALIDATION_SHARE = 0.05  # of the time, at most, goes into the quick validations
_MOST_VALIDATIONS = 40
_FEWEST_VALIDATIONS = 8
_FEW_TOKENS = 20_000  # what is held out is always read as a whole if it is no more
_FEWEST_TOKENS = 2_000  # that a validation reads where each is scored among very many types
_PRODUCTS = 2**41  # of the exact figure at the end, where types are very many: a minute or two


LanguageTexts: TypeAlias = Texts | StreamedTexts


class Causal(
    WindowSteps, Task[LanguageConfig, WindowState, TextMaterial, LanguageTexts, Checkpoint]
):
    """P(y<t> given y<1..t-1>), of texts of a label where they have one."""

    declared = kinds.CAUSAL
    shape: ClassVar[type[LanguageConfig]] = CausalConfig
    kind = None
    targets = "tokens"
    loss = "loss"
    beside_loss = ""

    # What is asked, read and chosen

    def check(self, request: Request) -> None:
        """Raise UsageError for what cannot be, before anything is read."""
        if request.label_from is None and (request.text_column or request.header):
            raise UsageError("text_column and header go with label_from.")
        _ = request.label_source
        if request.ngram is not None:
            ngram.check_order(request.ngram)
        if request.adaptive and request.label_from is not None:
            raise UsageError(
                "a model with labels does not adapt: leave out adaptive or label_from."
            )
        if request.smoothing and request.store is not None:
            raise UsageError(
                "smoothing counts n-grams of a text in memory: leave out smoothing or store."
            )
        self.shape(**{"vocab_size": 3, **request.model})

    def read(self, request: Request, say: Say, given: TextsInMemory | None = None) -> LanguageTexts:
        """The corpus, split."""
        return read_texts(request, say, given)

    def read_in_passes(self, request: Request, place: Place, say: Say) -> LanguageTexts:
        """The corpus, split, as ids in a store."""
        return read_streamed(request, place, say)

    def prepare(self, request: Request, texts: LanguageTexts, say: Say) -> TextMaterial:
        """Learn a tokenizer, of words a speller, count n-grams; and the texts as ids."""
        level = request.level or "char"
        if isinstance(texts, StreamedTexts):
            tokenizer, speller = texts.learned()
            material = texts.material(tokenizer, speller)
        else:
            tokenizer, speller = learned(request, texts, say)
            material = text_material(texts, tokenizer, speller)
        text = material.text
        partner = partner_of(request, tokenizer, text, say)
        adaptive = adapting.adaptive_of(request, tokenizer, text, partner, say)
        material = dataclasses.replace(material, partner=partner, adaptive=adaptive)
        unknown = int(text.frequencies()[tokenizer.unk_id])
        say(
            f"vocabulary: {tokenizer.vocab_size:,} types at {level} level; {text.num_tokens:,} "
            "tokens to train on"
            f"{f', {unknown / text.num_tokens:.1%} of them <UNK>' if unknown else ''}"
        )
        return material

    def prepare_again(
        self, request: Request, texts: LanguageTexts, saved: Checkpoint
    ) -> TextMaterial:
        """The texts as ids by a saved step's tokenizer."""
        del request
        adaptive = saved.adaptive and dataclasses.replace(saved.adaptive, is_fitted=False)
        if isinstance(texts, StreamedTexts):
            material = texts.material(saved.tokenizer, saved.speller, saved.partner)
            return dataclasses.replace(material, adaptive=adaptive)
        if _counted(saved.labels) != _counted(texts.labels):
            raise CheckpointError(
                f"{saved.path}: the labels are not those that {saved.path.parent} was begun with. "
                "Restore its files, or begin a new run."
            )
        material = text_material(texts, saved.tokenizer, saved.speller, saved.partner)
        return dataclasses.replace(material, adaptive=adaptive)

    def choose(
        self, request: Request, material: TextMaterial, passes: float | None = None
    ) -> tuple[LanguageConfig, TrainingConfig, str]:
        """What the recipe says."""
        shape = request.model
        if material.labels is not None:
            number = len(material.labels.names)
            shape.update(num_labels=number, label_size=recipe.label_size(number))
        chosen = recipe.choose(
            level=material.tokenizer.level,
            vocab_size=material.tokenizer.vocab_size,
            num_tokens=material.text.num_tokens,
            num_sequences=material.text.num_sequences,
            seconds=request.seconds or self.declared.seconds,
            kind=self.shape,
            model=shape,
            training={**request.training, "seed": request.seed},
            passes=passes,
            in_memory=isinstance(material.text, TokenizedText),
        )
        return chosen.model, chosen.training, chosen.summary

    def heeds_passes(self, request: Request, material: TextMaterial) -> bool:
        """Of much text in a time the guess is near, and the same on any machine."""
        is_told = request.steps is not None or request.epochs is not None
        return is_told or recipe.is_little(material.text.num_tokens)

    def precisions(self, config: LanguageConfig, device: str) -> tuple[str, ...]:
        """Both."""
        likely = likely_precision(config.hidden_size, device)
        return (likely, "bf16" if likely == "fp32" else "fp32")

    def num_targets(self, material: TextMaterial) -> int:
        """Tokens of the text to train on."""
        return material.text.num_tokens

    def most_epochs(self, request: Request, material: TextMaterial, steps_per_epoch: int) -> float:
        """What the recipe says."""
        del request, steps_per_epoch
        text = material.text
        mean_length = text.num_tokens / text.num_sequences
        return recipe.most_epochs(material.tokenizer.level, text.num_tokens, mean_length)

    def validations(
        self,
        config: LanguageConfig,
        training: TrainingConfig,
        material: TextMaterial,
        epochs: float,
    ) -> tuple[int, int]:
        """As many as a twentieth of the time allows, within limits; else of a part of the text."""
        valid_tokens = material.valid.num_tokens if material.valid is not None else 0
        affordable = _VALIDATION_SHARE * epochs * material.text.num_tokens
        affordable /= _validation_cost(config, training)  # tokens that may be read in all
        number = int(min(_MOST_VALIDATIONS, affordable / max(1, valid_tokens)))
        validate_tokens = 0
        if config.has_many_types:
            number = int(min(_FEWEST_VALIDATIONS, affordable / _FEWEST_TOKENS)) or 1
            return number, max(_FEWEST_TOKENS, min(valid_tokens, int(affordable / number)))
        if number < _FEWEST_VALIDATIONS:
            number = _FEWEST_VALIDATIONS
            if affordable / number < valid_tokens > _FEW_TOKENS:
                validate_tokens = max(_FEW_TOKENS, int(affordable / number))
        return number, validate_tokens

    # Steps

    def note(self, state: WindowState, taken: Step) -> None:
        """Add up what is logged."""
        state.grad_norm = taken.grad_norm if math.isfinite(taken.grad_norm) else None
        if not taken.skipped:
            state.logged_nats += taken.loss * taken.num_targets
            state.logged_targets += taken.num_targets

    def validate(
        self,
        state: WindowState,
        training: TrainingConfig,
        material: TextMaterial,
        should_stop: Callable[[], bool],
        several: Several = ALONE,
    ) -> tuple[Validated | None, dict[str, Any]]:
        """The held-out loss now, the partner fitted first."""
        told = state.logged_nats / state.logged_targets if state.logged_targets else None
        validated: Validated | None = Validated(state.step, None, is_best=False)
        if material.valid is not None:
            with weights_for_use(state) as model:
                loss = self.held_out_loss(
                    model, material.valid, state, training, material, should_stop, several
                )
            validated = _judged(state, loss)
        state.logged_nats, state.logged_targets = 0.0, 0
        line = {
            "epoch": state.epoch // material.text.num_parts,
            "tokens": state.tokens,
            "train_loss_nats_per_token": told,
            "valid_loss_nats_per_token": validated.loss if validated else None,
            "learning_rate": rate_of(state, training, state.step - 1),
            "grad_norm": state.grad_norm,
        }
        return validated, line

    def held_out_loss(
        self,
        model: Network[Any],
        valid: TokenizedText,
        state: WindowState,
        training: TrainingConfig,
        material: TextMaterial,
        should_stop: Callable[[], bool],
        several: Several,
    ) -> float:
        """Mean nats per target, of the mixture where there is a partner."""
        assert isinstance(model, RecurrentLM)
        places, log_probs = quick_log_probs(
            model,
            valid,
            batch_size=max(64, training.batch_size),
            bptt_length=training.bptt_length,
            segment_length=training.segment_length,
            most_tokens=training.validate_tokens,
            should_stop=should_stop,
            several=several,
        )
        partner, evidence = partner_now(state, material), material.evidence
        if partner is not None and evidence is not None and np.isfinite(log_probs).all():
            seen = evidence.take(places)
            partner = interpolation.fit(partner, log_probs, seen)
            state.partner = partner.parameters
            log_probs = partner.combine(log_probs, seen)
        return -float(log_probs.mean())

    # Files

    def weights(self, state: WindowState) -> Arrays:
        """The average where one is kept."""
        with weights_for_use(state) as model:
            return to_arrays(model)

    def copies(self, state: WindowState) -> int:
        """The weights, two moments, and their mean."""
        return 3 if state.average is None else 4

    def files(
        self, state: WindowState, material: TextMaterial
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Tokenizer, speller, partner, labels, and what training sequences hash to."""
        about = {
            "split_on": material.split_on,
            "level": material.tokenizer.level,
            "model": state.module.config.to_json(),
            "best_loss_nats_per_token": state.best_loss,
        }
        files = {**material.tokenizer.to_files()}
        if material.speller is not None:
            check_finite(state.step, material.speller.weights.items())
            files["speller.json"] = to_json(material.speller.to_json())
            files["speller.safetensors"] = arrays_to_bytes(material.speller.weights)
        partner = partner_now(state, material)
        if partner is not None:
            files["partner.json"] = to_json(partner.to_json())
            if arrays := partner.to_arrays():
                files["ngram.safetensors"] = arrays_to_bytes(arrays)
        if material.adaptive is not None:
            files |= adapting.files_of(material.adaptive)
        if material.labels is not None:
            files["labels.json"] = to_json(material.labels.to_json())
        if material.known is not None:
            files["known.safetensors"] = known_to_bytes(material.known)
        return about, files

    def arrays(self, state: WindowState) -> Arrays:
        """Moments; the raw weights beside an average; the state that is carried."""
        return state.arrays()

    def put_back(
        self, state: WindowState, weights: Arrays, arrays: Arrays, counters: Mapping[str, Any]
    ) -> None:
        """Raises CheckpointError if they do not fit the model."""
        set_counters(state, counters)
        state.put_back(weights, arrays)

    def put_back_beside(self, state: WindowState, saved: Checkpoint | None) -> None:
        """The parameters of the partner."""
        fitted = saved is not None and saved.partner is not None
        state.partner = saved.partner.parameters if fitted else None  # type: ignore[union-attr]

    def went_back(self, state: WindowState) -> None:
        """What was carried came from other weights."""
        state.recurrent = None

    def load(self, path: Path) -> Checkpoint:
        """A step, verified."""
        return Checkpoint.load(path)

    def reader_files(self, saved: Checkpoint | TextMaterial) -> dict[str, bytes]:
        """Those of the tokenizer."""
        return saved.tokenizer.to_files()

    def bytes_beside(self, material: TextMaterial) -> int:
        """Tokenizer, hashes, speller, counts."""
        size = super().bytes_beside(material)
        if material.known is not None:
            size += material.known.nbytes
        if material.speller is not None:
            size += sum(array.nbytes for array in material.speller.weights.values())
        if material.partner is not None:
            size += sum(array.nbytes for array in material.partner.to_arrays().values())
        if material.adaptive is not None:
            size += sum(array.nbytes for array in material.adaptive.to_arrays().values())
        return size

    def differences(self, saved: Checkpoint, texts: LanguageTexts) -> str:
        """What is another in the texts than it was when a run was begun."""
        return texts.differences(saved.split_on, saved.labels, saved.info.get("text"))

    # The end

    def is_complete(self, run: Run, material: TextMaterial) -> bool:
        """Whether a conditional model is calibrated, and what adapts has learned its weights."""
        if material.valid is None:
            return True
        return not calibration.is_due(run.path) and not adapting.is_due(run.path)

    def finish(self, run: Run, material: TextMaterial, say: Say) -> str:
        """Calibrate a conditional model; what the best step makes of the text held out."""
        best = Checkpoint.load(directory.best_step(run.path))
        assert material.valid is not None
        assert not isinstance(best.config, CountsConfig)
        if best.labels is not None:
            calibration.calibrate_and_say(best.path, material.valid, say)
        held, number = material.about["valid"], material.valid.num_tokens
        unknown = held["unknown_nats"]
        assert not isinstance(best.config, CountsConfig)  # which has no steps
        places, valid = _some_of(best.config, material.valid)

        def total(log_probs: NDArray[np.floating]) -> float:
            return float(log_probs.sum()) * (number / len(log_probs))

        def per_token(log_probs: NDArray[np.floating]) -> str:
            return f"{(unknown - total(log_probs)) / number:.4f} nats per token"

        if valid is not material.valid:
            say(
                f"held out: {valid.num_tokens:,} of {number:,} tokens from all over are scored, "
                f"each among {valid.vocab_size:,} types; charlm evaluate scores all"
            )
        log_probs = self.held_out_log_probs(best, valid)
        if best.partner is not None:
            say(f"the network alone: {per_token(log_probs)}; with its partner:")
            if material.evidence is not None:
                evidence = material.evidence
                evidence = evidence if valid is material.valid else evidence.take(places)
                log_probs = best.partner.combine(log_probs, evidence)
        if best.adaptive is not None:
            held_out = adapting.learn_weights(best, valid, say)
            say(f"mixed by those weights: {per_token(held_out.frozen)}; going on learning from")
            say(f"the text held out, each token predicted first: {per_token(held_out.adapting)}")
        if unknown:
            say(f"<UNK> as one symbol: {-log_probs.mean():.4f} nats per token; spelled:")
        bits = metrics.bits_per(total(log_probs) - unknown, held["characters"])
        more = self.beside_loss or f", {bits:.4f} bits per character"
        return f"{self.loss}: {per_token(log_probs)}{more} (step {best.step})"

    def held_out_log_probs(self, best: Checkpoint, valid: TokenizedText) -> NDArray[np.float64]:
        """log P (N,) in nats of each token, exactly."""
        assert isinstance(best.config, CausalConfig)
        return token_log_probs(from_arrays(best.config, best.weights), valid)[0]


def _some_of(
    config: LanguageConfig, valid: TokenizedText
) -> tuple[NDArray[np.int64], TokenizedText]:
    """What of a text is scored in the end, and where it stands in it: all, of many types some."""
    most = _PRODUCTS // (config.vocab_size * config.embedding_size)
    if not config.has_many_types:
        most = valid.num_tokens
    return valid.some(max(_FEWEST_TOKENS, most))


def partner_now(state: WindowState, material: TextMaterial) -> Partner | None:
    """The partner with the parameters that it has by now."""
    if material.partner is None or state.partner is None:
        return material.partner
    return material.partner.with_parameters(state.partner)


def _judged(state: WindowState, loss: float) -> Validated | None:
    """A loss, with best and patience brought up to date; None if it is not finite."""
    if not math.isfinite(loss):
        state.worse_in_a_row += 1
        return None
    is_best = state.best_loss is None or loss < state.best_loss
    state.worse_in_a_row = 0 if is_best else state.worse_in_a_row + 1
    if is_best:
        state.best_loss, state.best_step = loss, state.step
    return Validated(state.step, loss, is_best)


def _validation_cost(model: LanguageConfig, config: TrainingConfig) -> float:
    """What reading a token costs, against training on it: all types have to be scored."""
    width = model.embedding_size if model.tie_weights else model.hidden_size
    recurrent = 8 * model.num_layers * model.hidden_size**2 * model.DIRECTIONS
    types = config.frequent_types + config.sampled_types if config.sampled_types else None
    whole = recurrent + width * model.vocab_size
    trained = recurrent + width * min(types or model.vocab_size, model.vocab_size)
    return _CHEAPER_FORWARD * whole / trained


def _counted(labels: Labels | None) -> object:
    """The labels and how many sequences have each, without what is fitted later."""
    return labels and (labels.names, labels.counts)
