"""Answering by a causal language model: the choice that is most likely to follow the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from .answers import Answers, choose
from .question import QuestionSet

QUESTION_MARKER = "Question: "
ANSWER_MARKER = "Answer: "
"""Text before a question and before an answer: a causal model has no [Q] and [D], so text marks its positions."""


def answer_by_likelihood(
    system: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: QuestionSet,
    *,
    max_length: int = 512,
    batch_size: int = 16,
) -> Answers:
    """Answers questions by the mean log-likelihood of each choice's tokens after its question.

    Args:
        system: name of the system.
        model: a causal language model.
        tokenizer: its tokenizer.
        questions: the questions.
        max_length: tokens of question and choice together; a longer question loses its beginning.
        batch_size: choices at a time.
    """
    contexts = [f"{QUESTION_MARKER}{q.text}\n{ANSWER_MARKER}".rstrip() for q in questions.questions for _ in q.choices]
    continuations = [f" {choice}" for q in questions.questions for choice in q.choices]
    flat = mean_log_likelihoods(model, tokenizer, contexts, continuations, max_length=max_length, batch_size=batch_size)
    return choose(system, questions, list(flat.split([len(question.choices) for question in questions.questions])))


def mean_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[str],
    continuations: Sequence[str],
    *,
    max_length: int = 512,
    batch_size: int = 16,
) -> torch.Tensor:
    """Mean log-likelihood per token of each continuation after its context.

    Args:
        model, tokenizer: of a causal language model.
        contexts, continuations: equally many texts; a continuation's tokens are those that it adds to its context's.
        max_length: tokens of both together; the context loses its beginning.
        batch_size: pairs at a time.

    Returns:
        (pairs,) float32 on the CPU.

    Raises:
        ValueError: for a continuation without tokens, or longer than `max_length`.
    """
    pairs = [_ids(tokenizer, *pair, max_length) for pair in zip(contexts, continuations, strict=True)]
    order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]), reverse=True)
    values = torch.empty(len(pairs))
    was_training = model.training
    model.eval()
    try:
        with logging.tqdm(total=len(pairs), desc="Answering", unit="choice", disable=len(pairs) < 4000) as bar:
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                values[places] = _batch(model, tokenizer, [pairs[place] for place in places])
                bar.update(len(places))
    finally:
        model.train(was_training)
    return values


def _ids(tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, max_length: int) -> tuple[list[int], int]:
    """Ids of context and continuation, and how many of them are the continuation's."""
    first, both = (tokenizer(text, verbose=False)["input_ids"] for text in (context, context + continuation))
    added = len(both) - len(first)
    if added < 1 or added >= max_length:
        raise ValueError(
            f"the choice {continuation.strip()[:60]!r} has {max(added, 0)} tokens; 1 to {max_length - 1} can be judged."
        )
    return both[-max_length:], added


@torch.inference_mode()
def _batch(model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[list[int], int]]) -> torch.Tensor:
    longest = max(len(ids) for ids, _ in pairs)
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.tensor([own + [fill] * (longest - len(own)) for own, _ in pairs], device=model.device)
    lengths = torch.tensor([len(own) for own, _ in pairs], device=model.device)
    places = torch.arange(longest, device=model.device)
    logits = model(input_ids=ids, attention_mask=(places < lengths.unsqueeze(1)).long()).logits[:, :-1]
    found = -torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
    added = torch.tensor([count for _, count in pairs], device=model.device)
    # Position t predicts token t + 1: the continuation's are the last `added` before the padding.
    counts = (places[1:] >= (lengths - added).unsqueeze(1)) & (places[1:] < lengths.unsqueeze(1))
    return (torch.where(counts, found, 0).sum(1) / added).cpu()
