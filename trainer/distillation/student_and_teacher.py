"""Student and teacher in the forms that people have them in: a path, a model, a teacher."""

from __future__ import annotations

from typing import Any

from torch import nn

from modeling_optical import OpticalForDistillation, OpticalModel, TransportOptions

from ..loop.inputs import inner_model, late_interaction_model
from ..teachers.teacher import Teacher, TeacherOfTexts


def as_student(given: Any) -> nn.Module:
    """The student: loaded from a path, or the model that is given, also one inside PEFT's wrapper.

    A plain `OpticalModel`, as `AutoModel` and `load_checkpoint` return it, becomes an `OpticalForDistillation` in place: both
    have the same weights.

    Raises:
        TypeError: for anything else.
    """
    given = late_interaction_model(given, "model", OpticalForDistillation)
    student = inner_model(given)
    if isinstance(student, OpticalForDistillation):
        return given
    if type(student).__name__ not in (OpticalModel.__name__, OpticalForDistillation.__name__):
        raise TypeError(f"model is a {type(student).__name__}: give an OpticalForDistillation, or a subclass of it.")
    student.__class__ = OpticalForDistillation
    return given


def as_teacher(
    given: Any, options: TransportOptions, max_length: int | None, max_document_length: int | None
) -> TeacherOfTexts:
    """The teacher: as it is given, or made of a path or a model, with the weights of tokens that the transport asks for.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(given, TeacherOfTexts):
        return given
    return Teacher(
        late_interaction_model(given, "teacher"),
        max_length,
        max_document_length=max_document_length,
        weigh_tokens_by=[options.marginals] if options.marginals in ("norm", "attention") else [],
        expand=options.tokens == "with_expansion",
    )
