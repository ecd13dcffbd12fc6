"""Multiple choice by late interaction: every choice is scored against its question."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import MultipleChoiceModelOutput
from transformers.utils import can_return_tuple

from .configuration_optical import OpticalConfig
from .late_interaction import maxsim_pairwise
from .modeling_optical import OpticalModel, OpticalModelOutput

CHOICE_FEATURES = ("question_to_choice", "choice_to_question", "length")


class OpticalForMultipleChoice(OpticalModel):
    """
    An [`OpticalModel`] that chooses between answers: late interaction of the question with every choice, and three weights.

    A choice's logit is a weighted sum of the three `CHOICE_FEATURES`. The first is MaxSim of the question with the choice over
    the question's tokens (mean over the tokens that score, in [-1, 1]). The second is MaxSim of the choice with the question
    over the choice's tokens, the third the logarithm of the choice's length in tokens. A bias would be the same for all
    choices. A model that was never trained on questions starts with the weights 1, 0, 0, plain normalised MaxSim, so
    checkpoints of [`OpticalModel`] answer zero-shot. The weights (a conditional logit, McFadden 1974) can be learned in one
    language and used in another.

    Args:
        config ([`OpticalConfig`]): the configuration.

    Example:

    ```python
    >>> model = OpticalForMultipleChoice.from_pretrained("path/to/student")
    >>> logits = model(input_ids=choices, question_input_ids=questions).logits  # (batch, choices)
    ```
    """

    def __init__(self, config: OpticalConfig, **unknown: Any):
        super().__init__(config, **unknown)
        self.choice_head = nn.Linear(len(CHOICE_FEATURES), 1, bias=False)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The first call comes from the parent's constructor, before there is a head.
        if module is self._modules.get("choice_head"):
            assert isinstance(module, nn.Linear)
            init.copy_(module.weight, torch.tensor([[1.0, 0.0, 0.0]]))
        else:
            super()._init_weights(module)

    @can_return_tuple
    def forward(  # takes choices and questions where the plain model takes texts
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_mask: torch.Tensor | None = None,
        question_input_ids: torch.Tensor | None = None,
        question_attention_mask: torch.Tensor | None = None,
        question_token_mask: torch.Tensor | None = None,
        choice_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MultipleChoiceModelOutput | OpticalModelOutput:
        """
        Args:
            input_ids: (batch, choices, tokens), the choices.
            attention_mask, token_mask: (batch, choices, tokens), as for [`OpticalModel`].
            question_input_ids: (batch, question tokens).
            question_attention_mask, question_token_mask: (batch, question tokens), likewise.
            choice_mask: (batch, choices) bool, False for a choice that is padding. None: those with a token that scores.
            labels: (batch,) positions of the right choices.
            **kwargs: passed to the backbone.

        Returns:
            Logits (batch, choices), the dtype's minimum where there is no choice, and with labels the cross entropy. For texts
            (batch, tokens) without questions, what [`OpticalModel`] returns.

        Raises:
            ValueError: without choices or questions, or if their batches differ.
        """
        if question_input_ids is None and input_ids is not None and input_ids.dim() == 2:
            return super().forward(input_ids, attention_mask, token_mask, **kwargs)
        if input_ids is None or question_input_ids is None:
            raise ValueError("multiple choice needs input_ids (batch, choices, tokens) and question_input_ids (batch, tokens).")
        if input_ids.dim() != 3 or input_ids.shape[0] != question_input_ids.shape[0]:
            raise ValueError(
                f"input_ids {tuple(input_ids.shape)} must be (batch, choices, tokens), with as many rows as "
                f"question_input_ids {tuple(question_input_ids.shape)}."
            )
        batch, choices = input_ids.shape[:2]
        question = super().forward(question_input_ids, question_attention_mask, question_token_mask, **kwargs)
        encoded = super().forward(*map(_flat, (input_ids, attention_mask, token_mask)), **kwargs)
        vectors, mask = (x.unflatten(0, (batch, choices)) for x in (encoded["token_vectors"], encoded["token_mask"]))
        logits = self.choose(question["token_vectors"], question["token_mask"], vectors, mask, choice_mask)
        loss = None if labels is None else functional.cross_entropy(logits.float(), labels)
        return MultipleChoiceModelOutput(loss=loss, logits=logits)

    def choose(
        self,
        question_vectors: torch.Tensor,
        question_mask: torch.Tensor,
        choice_vectors: torch.Tensor,
        choice_token_mask: torch.Tensor,
        choice_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Logits of encoded choices, which may come from another model of the same space (the English teacher).

        Args:
            question_vectors, question_mask: (batch, question tokens, dim) and (batch, question tokens) bool.
            choice_vectors, choice_token_mask: (batch, choices, tokens, dim) and (batch, choices, tokens) bool.
            choice_mask: (batch, choices) bool. None: choices with a token that scores.

        Returns:
            (batch, choices); the dtype's minimum where there is no choice.
        """
        features = choice_features(question_vectors, question_mask, choice_vectors, choice_token_mask)
        logits = self.choice_head(features.to(self.choice_head.weight.dtype)).squeeze(-1)
        there = choice_token_mask.any(-1) if choice_mask is None else choice_mask
        return logits.masked_fill(~there, torch.finfo(logits.dtype).min)


def choice_features(
    question_vectors: torch.Tensor,
    question_mask: torch.Tensor,
    choice_vectors: torch.Tensor,
    choice_token_mask: torch.Tensor,
) -> torch.Tensor:
    """The features of a choice.

    Args:
        question_vectors, question_mask: (batch, question tokens, dim) and (batch, question tokens) bool.
        choice_vectors, choice_token_mask: (batch, choices, tokens, dim) and (batch, choices, tokens) bool.

    Returns:
        (batch, choices, 3) float32, in the order of `CHOICE_FEATURES`; zero for a choice, or of a question, without tokens.
    """
    choices = choice_vectors.shape[1]
    questions, mask = (x.repeat_interleave(choices, 0) for x in (question_vectors, question_mask))
    flat, flat_mask = choice_vectors.flatten(0, 1), choice_token_mask.flatten(0, 1)
    lengths = flat_mask.sum(1).clamp_min(1)
    forward = maxsim_pairwise(questions, flat, mask, flat_mask) / mask.sum(1).clamp_min(1)
    backward = maxsim_pairwise(flat, questions, flat_mask, mask) / lengths
    features = torch.stack([forward, backward, lengths.to(forward.dtype).log()], -1)
    return features.unflatten(0, (-1, choices)).float()


def _flat(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.flatten(0, 1)


__all__ = ["OpticalForMultipleChoice"]
