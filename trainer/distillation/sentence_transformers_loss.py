"""The transport loss for sentence-transformers' `MultiVectorEncoderTrainer`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from modeling_optical import OpticalProcessor, TransportOptions, transport_loss

from ..teachers.teacher import Teacher

_PACKAGE_MISSING = (
    'the collator for sentence-transformers\' trainer needs that package: pip install "modeling-optical[interop]"'
)
_TEACHER_INPUTS = ("input_ids", "attention_mask", "token_mask", "content_mask")


class OpticalTransportLoss(nn.Module):
    r"""Distils a late-interaction teacher into another language: optimal transport between the token vectors of translations.

    For each pair the student's token vectors of the translation are moved to the teacher's token vectors of the source at the
    least cost. The loss is that cost, `<P, C>` with the cosine distance C and the plan P solved without gradient. No negatives
    and no relevance judgements are needed, and a batch is the mean of its pairs.

    The teacher is frozen and not part of the loss's weights: neither in its `state_dict` nor in the optimizer.

    Args:
        model: the student, a `MultiVectorEncoder`. The translations are encoded as queries.
        teacher: encodes the sources while training. None: the data set holds its vectors, see `teacher_labels`.
        transport: options of the transport, as [`TransportOptions`] or a mapping. `lexical_prior` is not available here.

    References:
        - OPTICAL: https://arxiv.org/abs/2301.12566

    Requirements:
        1. With a teacher: `data_collator=bitext_collator(model, teacher)`, which tokenizes each column for its model.
        2. Student and teacher have token vectors of the same dimension.

    Inputs:
        | Columns | Labels | Teacher |
        |---|---|---|
        | (source, translation) | none | `teacher=…` |
        | (translation,) | teacher vectors `(batch, teacher tokens, dim)`, zero rows are padding | None |

    Relations:
        - `MultiVectorDistillKLDivLoss` distils a teacher's scores of queries and candidate documents; this loss distils token
          vectors and needs translations alone.
        - `sentence_transformer.losses.MSELoss` does the same for one vector per text.
        - [`OpticalForDistillation`] computes this loss for `OpticalTrainer`.

    Raises:
        ValueError: for options that do not exist, and for columns that do not fit; the message has the remedy.

    Example:

    ```python
    from datasets import Dataset
    from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer

    from trainer import OpticalTransportLoss, Teacher, bitext_collator

    model = MultiVectorEncoder("path/to/multilingual-student")
    teacher = Teacher.from_pretrained("path/to/english-colbert")
    bitext = Dataset.from_dict({"english": ["good morning"], "swahili": ["habari ya asubuhi"]})
    loss = OpticalTransportLoss(model, teacher)
    trainer = MultiVectorEncoderTrainer(
        model=model, train_dataset=bitext, loss=loss, data_collator=bitext_collator(model, teacher)
    )
    trainer.train()
    ```
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: Teacher | None = None,
        *,
        transport: TransportOptions | dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        # A Teacher is not a module, so its weights stay out of this module's.
        self.teacher = teacher
        self.options = TransportOptions.of(transport)
        if self.options.lexical_prior:
            raise ValueError("transport.lexical_prior needs a translation table, which only OpticalTrainer has; set it to 0.")
        # Taken once: while training, `model` may be a wrapper without a tokenizer.
        self._markers = marker_ids(model)

    def get_config_dict(self) -> dict[str, Any]:
        """The text that sentence-transformers writes into the model card."""
        taught_by = "precomputed" if self.teacher is None else (self.teacher.model.config._name_or_path or "in memory")
        return {"teacher": taught_by, "transport": self.options.to_dict()}

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: torch.Tensor | None = None) -> torch.Tensor:
        """The mean transport cost of the batch.

        Args:
            sentence_features: one mapping per text column, as the trainer makes them.
            labels: (batch, teacher tokens, dim) where no teacher was given; rows of zeros are padding.
        """
        columns = [dict(features) for features in sentence_features]
        teacher_vectors, teacher_mask = self._teacher_vectors(columns, labels)
        features = columns[-1]
        ids = features["input_ids"]
        expansion = features.get("query_expansion_positions")
        outputs = self.model(features, task="query")
        vectors = functional.normalize(outputs["token_embeddings"].float(), dim=-1)
        mask = outputs["attention_mask"].bool()
        if self.options.tokens == "content":
            mask = mask & ~torch.isin(ids, self._markers.to(ids.device))
            if expansion is not None:
                mask = mask & ~expansion.bool()
        loss, _ = transport_loss(vectors, teacher_vectors.to(vectors.device), mask, teacher_mask, options=self.options)
        return loss

    def _teacher_vectors(self, columns: list[dict[str, Any]], labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (batch, teacher tokens, dim) and the mask of those that take mass."""
        if self.teacher is None:
            if labels is None or labels.dim() != 3:
                found = "none" if labels is None else f"shape {tuple(labels.shape)}"
                raise ValueError(
                    "without a teacher the labels are its token vectors, (batch, teacher tokens, dim); found "
                    f"{found}. Pass teacher=…, or add the column: dataset.map(lambda batch: "
                    '{"label": teacher_labels(teacher, batch["english"])}, batched=True).'
                )
            if len(columns) != 1:
                raise ValueError(
                    f"without a teacher there is one text column, the translation; found {len(columns)}. "
                    'Keep two columns: dataset.select_columns(["swahili", "label"]).'
                )
            return labels, labels.ne(0).any(2)
        if len(columns) != 2:
            raise ValueError(f"with a teacher there are two text columns, source and translation; found {len(columns)}.")
        if "content_mask" not in columns[0]:
            raise ValueError(
                "the sources were tokenized for the student, not for the teacher: give the trainer "
                "data_collator=bitext_collator(model, teacher)."
            )
        inputs = {name: columns[0][name] for name in _TEACHER_INPUTS}
        return _encode(self.teacher.to(inputs["input_ids"].device), inputs, self.options)

    @property
    def citation(self) -> str:
        """BibTeX of the method."""
        return """
@inproceedings{huang2023optical,
    title = "Improving Cross-lingual Information Retrieval on Low-Resource Languages via Optimal Transport Distillation",
    author = "Huang, Zhiqi and Yu, Puxuan and Allan, James",
    booktitle = "Proceedings of the Sixteenth ACM International Conference on Web Search and Data Mining",
    year = "2023",
}
"""


def bitext_collator(model: Any, teacher: Teacher, *, max_length: int | None = None, prompt: str | None = None) -> Any:
    """A `MultiVectorEncoderDataCollator` for (source, translation): the first column tokenized for the teacher, the second,
    as queries, for the student.

    Args:
        model: the student, a `MultiVectorEncoder`.
        teacher: the teacher that the loss has.
        max_length: the student's tokens per text; its query length if None.
        prompt: text before each translation; the model's query prompt if None. (`prompts` of the training arguments does not
            reach a collator that the trainer is given.)

    Raises:
        ImportError: if sentence-transformers is not installed; the message has the command.
    """
    try:
        from sentence_transformers.multi_vector_encoder.data_collator import MultiVectorEncoderDataCollator
    except ImportError as error:
        raise ImportError(_PACKAGE_MISSING) from error
    tokenize = partial(_tokenize_column, model.preprocess, teacher.processor, teacher.max_length, max_length)
    return MultiVectorEncoderDataCollator(
        preprocess_fn=tokenize, prompts=model.prompts.get("query") if prompt is None else prompt
    )


def _tokenize_column(
    preprocess: Callable[..., dict[str, Any]],
    processor: OpticalProcessor,
    teacher_length: int,
    student_length: int | None,
    texts: list[str],
    *,
    prompt: str | None = None,
    task: str | None = None,
) -> dict[str, Any]:
    """The collator calls its first column "query" and the others "document": here source and translation."""
    if task == "query":
        return dict(processor(texts, "query", teacher_length))
    lengths = {} if student_length is None else {"max_length": student_length}
    return preprocess(texts, prompt=prompt, task="query", **lengths)


def teacher_labels(
    teacher: Teacher, sources: Sequence[str], *, transport: TransportOptions | dict[str, Any] | None = None
) -> list[Any]:
    """The teacher's vectors as a column of labels.

    Args:
        teacher: the teacher.
        sources: texts in its language.
        transport: as for the loss; its `tokens` decides which vectors are kept.

    Returns:
        One float32 array (teacher.max_length, dim) per text, filled up with zeros.
    """
    batch = dict(teacher.processor(list(sources), "query", teacher.max_length).to(teacher.model.device))
    vectors, mask = _encode(teacher, batch, TransportOptions.of(transport))
    kept = torch.where(mask.unsqueeze(2), vectors, 0).float().cpu()
    return list(functional.pad(kept, (0, 0, 0, teacher.max_length - kept.shape[1])).numpy())


@torch.no_grad()
def _encode(teacher: Teacher, inputs: dict[str, Any], options: TransportOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors and the mask of those that take mass, in the teacher's own precision whatever the student trains in."""
    content = inputs["content_mask"]
    with torch.autocast(content.device.type, enabled=False):
        output = teacher.model(**{name: value for name, value in inputs.items() if name != "content_mask"})
    mask = output.token_mask & content if options.tokens == "content" else output.token_mask
    return output.token_vectors.float(), mask


def marker_ids(model: Any) -> torch.Tensor:
    """Ids of a `MultiVectorEncoder`'s special tokens and of prompts that are a single token ("[Q] "), which are not content.

    A piece that the vocabulary lacks (the unknown token) is content.
    """
    tokenizer = model.tokenizer
    ids = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for prompt in model.prompts.values():
        pieces = tokenizer.encode(prompt, add_special_tokens=False) if prompt else []
        if len(pieces) == 1:
            ids.update(pieces)
    return torch.tensor(sorted(ids))
