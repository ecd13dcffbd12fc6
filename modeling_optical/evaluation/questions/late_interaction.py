"""Answering by late interaction: the choice that has most to do with the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as functional

from ...late_interaction import pad_vectors
from ...modeling_optical import OpticalModel
from ...multiple_choice import OpticalForMultipleChoice, choice_features
from .answers import Answers, choose
from .question import Question, QuestionSet

_PENALTY = 1e-2


def with_choice_head(encoder: OpticalModel, weight: torch.Tensor | None = None) -> OpticalForMultipleChoice:
    """A model that chooses, made of an encoder, whose weights it shares.

    Args:
        encoder: the encoder.
        weight: (1, 3) of the head; None: plain normalised MaxSim.
    """
    model = OpticalForMultipleChoice(encoder.config)
    model.backbone, model.projection, model.pooled_projection = encoder.backbone, encoder.projection, encoder.pooled_projection
    model.processor = encoder.get_processor()
    if weight is not None:
        model.choice_head.weight.data.copy_(weight)
    return model.to(encoder.device).train(encoder.training)


def encode_choices(encoder: OpticalModel, questions: QuestionSet, *, batch_size: int = 32) -> dict[str, torch.Tensor]:
    """Every choice of the questions, read as a document, to its token vectors (tokens, dim) on the CPU."""
    texts = list(dict.fromkeys(choice for question in questions.questions for choice in question.choices))
    return dict(zip(texts, encoder.encode_document(texts, batch_size=batch_size, convert_to_tensor=True), strict=True))


def answer(
    system: str,
    model: OpticalForMultipleChoice,
    questions: QuestionSet,
    *,
    choices: Mapping[str, torch.Tensor] | None = None,
    question_length: int | None = None,
    batch_size: int = 32,
) -> Answers:
    """Answers questions.

    Args:
        system: name of the system.
        model: reads the questions, as queries, and the choices, as documents.
        questions: the questions.
        choices: the choices as `encode_choices` gives them, read by another model of the same space (the English teacher, for
            choices in English); None: the model reads them.
        question_length: tokens of the longest question; the model's query length if None.
        batch_size: texts or questions at a time.
    """
    if choices is None:
        choices = encode_choices(model, questions, batch_size=batch_size)
    scores: list[torch.Tensor] = []
    for batch in _encoded(model, choices, questions.questions, question_length, batch_size):
        with torch.inference_mode():
            scores += list(model.choose(*(tensor.to(model.device) for tensor in batch)).float().cpu())
    return choose(system, questions, scores)


def fit_choice_head(
    model: OpticalModel, questions: QuestionSet, *, question_length: int | None = None, batch_size: int = 32
) -> torch.Tensor:
    """Weights of a choice head that make the right choices of these questions most likely, with a frozen encoder.

    A conditional logit with a small penalty on the distance from plain MaxSim (1, 0, 0). The problem is convex, and the penalty
    makes its solution unique even if the questions are few or are all answered correctly.

    Args:
        model: reads questions and choices; the teacher, for questions in its language.
        questions: the questions.
        question_length, batch_size: as for `answer`.

    Returns:
        (1, 3) float32, for `with_choice_head`.
    """
    choices = encode_choices(model, questions, batch_size=batch_size)
    found = [
        (choice_features(*batch).double(), batch[3].any(-1))
        for batch in _encoded(model, choices, questions.questions, question_length, batch_size)
    ]
    most = max(features.shape[1] for features, _ in found)
    features = torch.cat([functional.pad(one, (0, 0, 0, most - one.shape[1])) for one, _ in found])
    there = torch.cat([functional.pad(one, (0, most - one.shape[1])) for _, one in found])
    return fit_conditional_logit(features, there, torch.tensor([question.right for question in questions.questions]))


def fit_conditional_logit(
    features: torch.Tensor, there: torch.Tensor, right: torch.Tensor, penalty: float = _PENALTY
) -> torch.Tensor:
    """Weights of a conditional logit by L-BFGS.

    Args:
        features: (questions, choices, features) float64.
        there: (questions, choices) bool, which choices exist.
        right: (questions,) positions of the right choices.
        penalty: on the squared distance from (1, 0, …), per question.

    Returns:
        (1, features) float32.
    """
    start = torch.zeros(features.shape[-1], dtype=features.dtype)
    start[0] = 1.0
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = (features @ weight).masked_fill(~there, torch.finfo(features.dtype).min)
        loss = functional.cross_entropy(logits, right) + penalty * (weight - start).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach().float().unsqueeze(0)


def _encoded(
    model: OpticalModel,
    choices: Mapping[str, torch.Tensor],
    questions: Sequence[Question],
    question_length: int | None,
    batch_size: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches of question vectors, their mask, choice vectors and their mask, as `choose` takes them."""
    texts = list(dict.fromkeys(question.text for question in questions))
    asked = dict(zip(texts, _question_vectors(model, texts, question_length, batch_size), strict=True))
    empty = torch.zeros(0, model.config.vector_dim)
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        most = max(len(question.choices) for question in batch)
        vectors, mask = pad_vectors([asked[question.text] for question in batch])
        rows = [
            choices[question.choices[place]] if place < len(question.choices) else empty
            for question in batch
            for place in range(most)
        ]
        choice_vectors, choice_mask = pad_vectors(rows)
        yield vectors, mask, choice_vectors.unflatten(0, (-1, most)), choice_mask.unflatten(0, (-1, most))


def _question_vectors(
    model: OpticalModel, texts: Sequence[str], question_length: int | None, batch_size: int
) -> list[torch.Tensor]:
    """Token vectors of the questions."""
    processor = model.get_processor()
    configured = processor.longest("query")
    if question_length is None or question_length <= configured or model.config.query_expansion != "fixed":
        return model.encode_query(texts, batch_size=batch_size, max_length=question_length, convert_to_tensor=True)
    # Padding to a fixed length would drown a question in mask tokens, so every question keeps its length.
    marker, prompt = int(model.config.query_marker is not None), model.config.query_prompt or ""
    encoded = processor.tokenizer([prompt + text for text in texts], verbose=False)["input_ids"]
    groups: dict[int, list[int]] = {}
    for place, ids in enumerate(encoded):
        groups.setdefault(min(max(len(ids) + marker, configured), question_length), []).append(place)
    found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    for length, places in groups.items():
        own = [texts[place] for place in places]
        vectors = model.encode_query(own, batch_size=batch_size, max_length=length, convert_to_tensor=True)
        for place, one in zip(places, vectors, strict=True):
            found[place] = one
    return found
