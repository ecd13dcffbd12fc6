"""`OpticalTrainer`: a Trainer whose loss is a weighted sum of distillation objectives."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import broadcast
from datasets import Dataset
from torch import nn

from modeling_optical import OpticalModel
from modeling_optical.files.fingerprint import model_fingerprint

from ..loop.collapse import CollapseMonitor
from ..loop.cpu_attention import fast_cpu_attention
from ..loop.gradient_cache import cached_backward
from ..loop.inputs import checked_arguments, checked_processor, data_sets_of, inner_model, whole
from ..loop.objective_trainer import ObjectiveTrainer, Predictions
from ..loop.training_state import load_modules, save_modules
from ..objectives import ObjectiveContext, ScoreKL, build_objectives, embedding_adversary_setting
from ..objectives.embedding_adversary import EmbeddingAdversary
from ..teachers.teacher import TeacherOfTexts
from ..vocabulary import TranslationTable
from .arguments import OpticalTrainingArguments
from .collator import DistillationCollator
from .input_checks import check_inputs, check_pooling, check_topics, count_frequencies, languages_of, with_lengths
from .moving_average import MovingAverage, MovingAverageCallback
from .passages import PassageSet, read_passages
from .student_and_teacher import as_student, as_teacher
from .symmetric import kinds_of, spread_kinds
from .token_frequencies import InverseDocumentFrequencies
from .topic_batches import TopicSampler, topics_of
from .translation_evaluation import translation_retrieval_by_kind

# What the batch has for the transport alone, and what for other objectives: neither is the encoder's.
_TRANSPORT_INPUTS = ("teacher_vectors", "teacher_mask", "teacher_content_mask", "teacher_weights", "solving_bonus")
_OBJECTIVE_INPUTS = ("source_keys", "language_ids", "teacher_pooled", "passage_vectors", "passage_mask", "texts")


class OpticalTrainer(ObjectiveTrainer):
    """Distils a teacher into a student from bitext.

    Everything that `transformers.Trainer` does (checkpoints, resuming, precision, accumulation, several processes, logging,
    pushing) stays as it is. Added: the teacher's vectors in the batches, the objectives, annealing of epsilon, gradient
    caching, translation retrieval on the evaluation bitext, a stop at a non-finite loss, a monitor of collapse, and checksums
    in checkpoints.

    Args:
        model: the student: an `OpticalForDistillation`, any other late-interaction model (which becomes one in place), one
            with a PEFT adapter, or a path. None with `model_init`, which then makes one for every training.
        args: the arguments; None: their defaults.
        teacher: a `TeacherCache` filled with the sources of both data sets, a live `Teacher`, a model, or a path. It is neither
            trained, nor wrapped, nor saved.
        train_dataset, eval_dataset: bitext with the columns `source` and `target`, as `load_bitext` returns it, a list of rows,
            or a stream; with a column `kind` (`query`, `document`, `both`) texts are also learnt as documents. `eval_dataset`
            may be a mapping of names (languages, say) to such sets; metrics are then `eval_sw_loss` and so on.
        columns: for columns of other names: `{"source": "english", "target": "swahili"}`.
        max_length: the student's tokens per query-like text; its query length if None.
        max_document_length: the student's tokens per document-like text; its document length if None.
        translations: translation table for `transport.lexical_prior` and `transport.plan_from="lexical"`.
        frequencies: for `transport.marginals="idf"`; counted on `train_dataset` if None.
        **kwargs: for the parent (callbacks, optimizers, compute_metrics, model_init, data_collator, write_card …).
            `compute_metrics` and `predict` get token vectors and mask of the translations as predictions, the teacher's of the
            sources as labels.

    Raises:
        TypeError: for an argument of another kind.
        ValueError: if teacher and student differ in dimension, a data set lacks a column, or options need a missing argument.

    Example:

    ```python
    >>> trainer = OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext)
    >>> trainer.train()
    ```
    """

    # docs/method.md §6: every objective is a mean over its batch, so the parent divides by the accumulation steps.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any = None,
        args: OpticalTrainingArguments | None = None,
        *,
        teacher: TeacherOfTexts | OpticalModel | str | os.PathLike,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        columns: Mapping[str, str] | None = None,
        max_length: int | None = None,
        max_document_length: int | None = None,
        translations: TranslationTable | None = None,
        frequencies: InverseDocumentFrequencies | None = None,
        **kwargs: Any,
    ):
        self.args = args = checked_arguments(args, OpticalTrainingArguments)
        self.teacher: Any = cast(Any, teacher)
        self.max_length = max_length
        self.max_document_length = max_document_length
        self.translations = translations
        self.columns = columns
        self.passages: PassageSet | None = None
        train_dataset = None if train_dataset is None else with_lengths(self._rows(train_dataset, "train_dataset"), args)
        eval_dataset = None if eval_dataset is None else self._evaluation_rows(eval_dataset)
        assert isinstance(args.objectives, dict)  # the arguments have parsed it
        adversarial = "language_adversary" in args.objectives
        self.languages = languages_of(train_dataset, *data_sets_of(eval_dataset)) if adversarial else ()
        model = self._first(model, kwargs.get("model_init"))
        student = inner_model(model)
        processor = checked_processor(kwargs.pop("processing_class", None) or student.get_processor())
        options = student.config.transport
        if options.marginals != "idf":
            frequencies = None
        elif frequencies is None:
            frequencies = count_frequencies(train_dataset, processor, self.teacher)
        self.frequencies = frequencies
        kwargs.setdefault(
            "data_collator",
            DistillationCollator(
                processor,
                self.teacher,
                max_length,
                translations,
                lexical_prior=1.0 if options.plan_from == "lexical" else options.lexical_prior,
                max_document_length=max_document_length,
                expand=options.tokens == "with_expansion",
                marginals=options.marginals,
                frequencies=frequencies,
                with_source_keys=self.objectives.needs_source_keys,
                languages=self.languages,
                with_pooled=self.objectives.needs_pooled,
                with_texts=args.stop_on_non_finite,
            ),
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processor,
            stop_on_non_finite=args.stop_on_non_finite,
            **kwargs,
        )
        check_topics(args, self.train_dataset)
        self._collapse = None if args.collapse_threshold is None else CollapseMonitor(args.collapse_threshold)

    def _rows(self, given: Any, name: str) -> Any:
        return spread_kinds(super()._rows(given, name))

    def _adopt(self, model: Any) -> nn.Module:
        """The student ready for training; also builds the objects that depend on it."""
        args = self.args
        model = as_student(model)
        student = inner_model(model)
        options = student.config.transport
        if model is self.teacher or student is self.teacher:
            raise ValueError("model and teacher are the same object, which would be frozen: load it twice.")
        self.teacher = as_teacher(self.teacher, options, self.max_length, self.max_document_length)
        check_inputs(student, args, self.teacher, self.translations, self.max_length)
        # An index has the fingerprint of the model that made it: whoever opens it can tell whether the student fits.
        student.config.teacher_fingerprint = model_fingerprint(self.teacher.teacher.model, "document")
        self.objectives = build_objectives(
            args.objectives, ObjectiveContext(student.config.vector_dim, self.languages, args.seed)
        )
        if self.objectives.needs_pooled:
            check_pooling(student, args, self.teacher)
        adversary = embedding_adversary_setting(args.objectives)
        self.adversary = None if adversary is None else EmbeddingAdversary(adversary.options, student.get_input_embeddings())
        self.adversary_weight = None if adversary is None else adversary.weight
        averaged = options.plan_from == "ema" and self.objectives.needs_plan
        self.moving_average = MovingAverage(student, options.ema_decay) if averaged else None
        if options.marginals == "attention":
            student.set_attn_implementation("eager")  # no other implementation returns it
        # Before the parent sees the model: its weights belong to the optimizer and to every process.
        self.objectives.attach(student)
        return model

    def _follow_model(self) -> None:
        """What needs the device and the processes that the parent has set up, for the model that is trained next."""
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded and (self.objectives.has_weights or self.moving_average is not None):
            raise ValueError(
                "language_adversary and transport.plan_from='ema' keep weights beside the student, which cannot be sharded: "
                "leave them out, or train without FSDP and DeepSpeed."
            )
        super()._follow_model()
        self.objectives.to(self.args.device)
        self.remove_callback(MovingAverageCallback)
        if self.moving_average is not None:
            self.moving_average.model.to(self.args.device)
            self.add_callback(MovingAverageCallback(self.moving_average, self.trained))
        self.teacher.teacher.to(self.args.device)
        score_kl = next((o for o in self.objectives.objectives if isinstance(o, ScoreKL) and o.options.passages), None)
        if score_kl is not None and self.passages is None:
            self.passages_per_step = score_kl.options.passages_per_step
            with self.args.main_process_first(desc="vectors of the passages"):
                self.teacher.refresh()  # what the main process has computed
                self.passages = PassageSet(read_passages(str(score_kl.options.passages)), self.teacher)

    def _inner_training_loop(self, batch_size: int | None = None, **kwargs: Any) -> Any:
        """The parent's loop; short texts on a CPU in bf16 with the attention that is faster there."""
        lengths = {"query": self.max_length, "document": self.max_document_length}
        longest = max(self.processing_class.longest(kind, lengths[kind]) for kind in kinds_of(self.train_dataset))
        with fast_cpu_attention(self.trained, self.args, longest):
            return super()._inner_training_loop(batch_size, **kwargs)

    @property
    def epsilon(self) -> float:
        """The transport's epsilon at the present step: geometric from `initial_epsilon` to the configured one."""
        final = self.trained.config.transport.epsilon
        initial = self.args.initial_epsilon
        if initial is None:
            return final
        steps = self.args.epsilon_annealing_steps
        if steps < 1:
            steps *= self.state.max_steps
        progress = min(self.state.global_step / steps, 1.0) if steps > 0 else 1.0
        return initial * (final / initial) ** progress

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Weighted sum of the objectives; every part is logged."""
        inputs = self._with_passages(inputs)
        output = model(**self._model_arguments(inputs))
        total = self._weighted_sum(output, inputs, logged=model.training)
        return (total, output) if return_outputs else total

    def _model_arguments(self, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
        arguments: dict[str, Any] = {name: value for name, value in inputs.items() if name not in _OBJECTIVE_INPUTS}
        if self.objectives.needs_plan:
            return arguments | self._solving_arguments(inputs)
        # Without teacher vectors the model solves no transport problem.
        return {name: value for name, value in arguments.items() if name not in _TRANSPORT_INPUTS}

    def _solving_arguments(self, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
        arguments: dict[str, Any] = {} if self.args.initial_epsilon is None else {"epsilon": self.epsilon}
        if self.moving_average is not None:
            with self.accelerator.autocast():
                arguments["solving_vectors"] = self.moving_average.token_vectors(inputs)
        return arguments

    def _weighted_sum(self, output: Any, inputs: dict[str, torch.Tensor], *, logged: bool) -> torch.Tensor:
        total, parts = self.objectives(output, inputs, self.state.global_step, self.state.max_steps)
        if logged:
            self._check_and_note(total, parts, inputs)
            if self._collapse is not None:
                self._collapse.see(
                    output["token_vectors"], inputs["content_mask"], inputs["teacher_vectors"], inputs["teacher_content_mask"]
                )
        return total

    def _with_passages(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.passages is None:
            return inputs
        vectors, mask = self.passages.sample(self.passages_per_step, self.state.global_step, self.args.seed)
        return inputs | {"passage_vectors": vectors.to(self.args.device), "passage_mask": mask.to(self.args.device)}

    def _step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None
    ) -> torch.Tensor:
        """The parent's step, or one of several forward and backward passes: gradient caching, an embedding adversary."""
        chunk_size = self.args.gradient_cache_chunk_size
        weight = (
            0.0 if self.adversary_weight is None else self.adversary_weight.at(self.state.global_step, self.state.max_steps)
        )
        if chunk_size is None and not weight:
            return super()._step(model, inputs, num_items_in_batch)
        model.train()
        if callable(getattr(self.optimizer, "train", None)):  # schedule-free optimizers, as the parent does
            self.optimizer.train()
        inputs = self._with_passages(self._prepare_inputs(inputs))
        no_sync = functools.partial(self.accelerator.no_sync, model)
        with self.compute_loss_context_manager():
            if chunk_size is not None:
                loss = cached_backward(
                    model,
                    inputs,
                    chunk_size,
                    loss_of=functools.partial(self._loss_of_encoded, inputs),
                    backward=self._backward,
                    no_sync=no_sync,
                    parameters=list(self.objectives.parameters()),
                )
            else:
                loss = self._adversarial_step(model, inputs, weight, no_sync)
        return loss / self.current_gradient_accumulation_steps

    def _backward(self, loss: torch.Tensor) -> None:
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

    def _loss_of_encoded(self, inputs: dict[str, torch.Tensor], output: Any) -> torch.Tensor:
        """The weighted sum for texts that are encoded already."""
        if self.objectives.needs_plan:
            given: dict[str, Any] = {name: inputs[name] for name in _TRANSPORT_INPUTS if name in inputs}
            output.loss, output.plan = self.trained.transport(
                output, inputs["content_mask"], **given, **self._solving_arguments(inputs)
            )
        return self._weighted_sum(output, inputs, logged=True)

    def _adversarial_step(self, model: nn.Module, inputs: dict[str, torch.Tensor], weight: float, no_sync: Any) -> torch.Tensor:
        assert self.adversary is not None
        arguments = self._model_arguments(inputs)
        passes = 0

        def loss_of(encoder: nn.Module) -> torch.Tensor:
            nonlocal passes
            passes += 1  # only the first pass is at the texts themselves
            return self._weighted_sum(encoder(**arguments), inputs, logged=passes == 1)

        clean, adversarial = self.adversary.backward(
            inputs["attention_mask"],
            weight,
            loss_of=functools.partial(loss_of, model),
            ascent_loss_of=functools.partial(loss_of, self.trained),
            backward=self._backward,
            no_sync=no_sync,
        )
        self._note({"embedding_adversary": adversarial})
        return clean + weight * adversarial

    def _measure(self, rows: Any) -> dict[str, float]:
        """How often a target finds its source among all of them."""
        return self.translation_retrieval(whole(rows))

    def _predictions(self, outputs: Any, inputs: Mapping[str, torch.Tensor]) -> Predictions:
        """Token vectors and mask (1: counts) of the translations, and the teacher's of the sources."""
        return (
            (outputs["token_vectors"], outputs["token_mask"].long()),
            (inputs["teacher_vectors"], inputs["teacher_mask"].long()),
        )

    def translation_retrieval(self, bitext: Dataset) -> dict[str, float]:
        """Success@1 and RR@10 of targets searching the sources, which the teacher encodes.

        Document-like texts search among document-like ones; their values begin with `document_`.
        """
        return translation_retrieval_by_kind(
            self.trained,
            self.teacher,
            bitext,
            self.processing_class,
            {"query": self.max_length, "document": self.max_document_length},
        )

    def _add_to_log(self, logs: dict[str, float]) -> None:
        if self._collapse is not None:
            for name, value in self._collapse.spread().items():
                logs[name] = round(self._mean_over_processes(value), 4)
            if "effective_rank" in logs:
                self._collapse.judge(logs, self.state.global_step / self.state.max_steps)
        if self.args.initial_epsilon is not None and self.objectives.needs_plan:
            logs["epsilon"] = round(self.epsilon, 6)
        for name, schedule in self.objectives.weights.items():
            if schedule.initial != schedule.final:
                logs[f"{name}_weight"] = round(schedule.at(self.state.global_step, self.state.max_steps), 6)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        """The parent's sampler, or one whose batches are each of one topic."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.topics is None or not isinstance(dataset, Dataset):
            return super()._get_train_sampler(train_dataset)
        args = self.args
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        topics = torch.zeros(len(dataset), dtype=torch.long)
        if args.process_index == 0:
            # A topic has a separate batch on average, however few pairs there are.
            most = max(min(args.topics, len(dataset) // batch_size), 1)
            topics = torch.from_numpy(topics_of(dataset, self.teacher, most, seed=args.seed))
        topics = broadcast(topics.to(args.device)).cpu()
        lengths = list(dataset[args.length_column_name]) if args.train_sampling_strategy == "group_by_length" else None
        return TopicSampler(topics.numpy(), batch_size, lengths=lengths, seed=args.seed)

    def _training_only_modules(self) -> dict[str, nn.Module]:
        """The modules that training needs beside the student, by their file in a checkpoint."""
        modules: dict[str, nn.Module] = {}
        if self.objectives.has_weights:
            modules["objectives.safetensors"] = self.objectives
        if self.moving_average is not None:
            modules["moving_average.safetensors"] = self.moving_average.model
        return modules

    # With the optimizer: before the trainer's state, which marks a whole checkpoint, and never into the student's own files.
    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            save_modules(output_dir, self._training_only_modules())
            if self.frequencies is not None:
                self.frequencies.save(Path(output_dir, "token_frequencies.safetensors"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_modules(checkpoint, self._training_only_modules())
        super()._load_optimizer_and_scheduler(checkpoint)
