"""Checks of a training run's inputs, before anything is computed."""

from __future__ import annotations

from datasets import Dataset, IterableDataset

from modeling_optical import OpticalForDistillation, OpticalProcessor
from modeling_optical.backbones import check_backbone_is_known
from modeling_optical.text_encoding import check_expansion

from ..teachers.teacher import TeacherOfTexts
from ..vocabulary import TranslationTable
from .arguments import OpticalTrainingArguments
from .token_frequencies import InverseDocumentFrequencies


def check_inputs(
    model: OpticalForDistillation,
    args: OpticalTrainingArguments,
    teacher: TeacherOfTexts,
    translations: TranslationTable | None,
    max_length: int | None,
) -> None:
    """Rejects inputs that cannot be trained on, before anything is computed."""
    owner = teacher.teacher
    check_backbone_is_known(model.config.backbone_config)  # not when the trained student is to be saved
    for encoder in (model, owner.model):
        check_expansion(encoder)
    if owner.model is model:
        raise ValueError("model and teacher are the same object, which would be frozen: load it twice.")
    if owner.dim != model.config.vector_dim:
        raise ValueError(
            f"the teacher's token vectors have {owner.dim} dimensions, the student's {model.config.vector_dim}: they must "
            f"share a space. Give the student embedding_dim={owner.dim} (student.config.embedding_dim in a recipe), or "
            "null if its backbone has that hidden size."
        )
    options = model.config.transport
    if (options.plan_from == "lexical" or options.lexical_prior > 0) and translations is None:
        key = "plan_from='lexical'" if options.plan_from == "lexical" else "lexical_prior"
        raise ValueError(
            f"transport.{key} needs a translation table (translations=…; in a recipe student.vocabulary makes one)."
        )
    if options.tokens == "with_expansion":
        if not owner.expand:
            raise ValueError("transport.tokens='with_expansion' needs a teacher that expands texts: Teacher(…, expand=True).")
        if owner.max_length < (max_length or model.config.query_length):
            raise ValueError(
                f"transport.tokens='with_expansion' pads both sides to one length: the teacher takes {owner.max_length} "
                f"tokens, the student {max_length or model.config.query_length}. Give both the same max_length."
            )
        if model.config.attend_to_expansion_tokens or model.config.scored_query_tokens != "all":
            raise ValueError(
                "transport.tokens='with_expansion' needs a student with attend_to_expansion_tokens=False (else the expansion "
                "changes its vectors) and scored_query_tokens='all'."
            )
    if options.marginals in ("norm", "attention") and options.marginals not in owner.weigh_tokens_by:
        raise ValueError(
            f"transport.marginals={options.marginals!r} needs a teacher that weighs its tokens: "
            f"Teacher(…, weigh_tokens_by=[{options.marginals!r}])."
        )


def check_topics(args: OpticalTrainingArguments, train_dataset: Dataset | IterableDataset | None) -> None:
    """Rejects topics for a stream, whose pairs are unknown before training."""
    if args.topics is not None and isinstance(train_dataset, IterableDataset):
        raise ValueError("topics need all pairs before training: give a data set (not a stream), or leave topics out.")


def check_pooling(model: OpticalForDistillation, args: OpticalTrainingArguments, teacher: TeacherOfTexts) -> None:
    """Rejects `pooled_vector_mse` where there are no pooled vectors, or they cannot be compared."""
    sizes = {"teacher": teacher.teacher.model.config.pooled_dim, "student": model.config.pooled_dim}
    for side, size in sizes.items():
        if size is None:
            raise ValueError(
                f"objectives.pooled_vector_mse compares pooled vectors, and the {side} has none: set its pooling_mode (of the "
                "student in a recipe: student.config.pooling_mode=mean, project_pooled=true)."
            )
    if sizes["teacher"] != sizes["student"]:
        raise ValueError(
            f"the teacher's pooled vector has {sizes['teacher']} dimensions, the student's {sizes['student']}: they must share "
            "a space. With project_pooled=true the student's goes through the projection of its token vectors."
        )
    if args.gradient_cache_chunk_size is not None:
        raise ValueError(
            "objectives.pooled_vector_mse and gradient_cache_chunk_size cannot go together: gradients are cached for token "
            "vectors alone. Leave gradient_cache_chunk_size out, or use gradient accumulation."
        )


def languages_of(*datasets: Dataset | IterableDataset | None) -> tuple[str, ...]:
    """All languages of the data sets, sorted.

    Raises:
        ValueError: if a data set cannot tell.
    """
    found: set[str] = set()
    for dataset in datasets:
        if dataset is None:
            continue
        if not isinstance(dataset, Dataset) or "language" not in dataset.column_names:
            raise ValueError(
                "objectives.language_adversary needs to know all languages before training: give a data set (not a stream) "
                "with a column `language`."
            )
        found |= set(dataset.unique("language"))
    return tuple(sorted(found))


def count_frequencies(
    bitext: Dataset | IterableDataset | None, processor: OpticalProcessor, teacher: TeacherOfTexts
) -> InverseDocumentFrequencies:
    """Frequencies for `transport.marginals="idf"`, from the training bitext.

    Raises:
        ValueError: if there is none that can be read twice.
    """
    if not isinstance(bitext, Dataset):
        raise ValueError(
            "transport.marginals='idf' needs token frequencies: give frequencies=InverseDocumentFrequencies.count(…), or a "
            "train_dataset (not a stream) to count on."
        )
    return InverseDocumentFrequencies.count(bitext, processor, teacher.teacher.processor)


def with_lengths(bitext: Dataset | IterableDataset | None, args: OpticalTrainingArguments) -> Dataset | IterableDataset | None:
    """The bitext with the lengths that `train_sampling_strategy` asks for, in characters of the target; a stream as it is."""
    asked = args.train_sampling_strategy in ("group_by_length", "batch_rebalance")
    if not asked or not isinstance(bitext, Dataset) or args.length_column_name in bitext.column_names:
        return bitext
    return bitext.add_column(args.length_column_name, [len(text) for text in bitext["target"]])
