"""How often a translation finds its source: an evaluation without judgements."""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset

from modeling_optical import OpticalModel, OpticalProcessor
from modeling_optical.evaluation import translation_retrieval

from ..teachers.teacher import TeacherOfTexts


def translation_retrieval_by_kind(
    student: OpticalModel,
    teacher: TeacherOfTexts,
    bitext: Dataset,
    processor: OpticalProcessor,
    max_lengths: Mapping[str, int | None],
) -> dict[str, float]:
    """Success@1 and RR@10 of targets, encoded by the student, searching the sources, encoded by the teacher.

    Args:
        student: encodes the targets.
        teacher: encodes the sources, or holds their vectors.
        bitext: with the columns `source`, `target` and perhaps `kind`.
        processor: the student's.
        max_lengths: the student's tokens per text, for the kinds `query` and `document`.

    Returns:
        The values for query-like texts among query-like ones, and the same for document-like ones, with the prefix `document_`.
    """
    kinds = bitext["kind"] if "kind" in bitext.column_names else ["query"] * len(bitext)
    found: dict[str, float] = {}
    for kind in ("query", "document"):
        rows = [row for row, own in enumerate(kinds) if own in (kind, "both")]
        if rows:
            values = _retrieval(student, teacher, bitext.select(rows), processor, kind, max_lengths[kind])
            found |= {name if kind == "query" else f"document_{name}": value for name, value in values.items()}
    return found


def _retrieval(
    student: OpticalModel,
    teacher: TeacherOfTexts,
    bitext: Dataset,
    processor: OpticalProcessor,
    kind: str,
    max_length: int | None,
) -> dict[str, float]:
    vectors = student.encode(bitext["target"], kind, processor=processor, max_length=max_length, show_progress_bar=False)
    sources = list(dict.fromkeys(bitext["source"]))
    entries = [entry for source in sources for entry in teacher.vectors_of([source], [kind])]
    place = {source: index for index, source in enumerate(sources)}
    documents = [entry.vectors[: entry.unexpanded].float() for entry in entries]
    return translation_retrieval(vectors, documents, [place[source] for source in bitext["source"]])
