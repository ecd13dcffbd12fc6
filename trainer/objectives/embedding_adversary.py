"""Training at the worst point near the input embeddings: FGM, PGD and FreeLB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..option_checks import check_choice, check_positive, check_whole

METHODS = ("fgm", "pgd", "freelb")


@dataclass(frozen=True)
class EmbeddingAdversaryOptions:
    """Options of `embedding_adversary`.

    Args:
        method: `"fgm"`: one step along the gradient (Miyato et al., arXiv 1605.07725); `"pgd"`: several steps, the loss at the
            last point (Madry et al., arXiv 1706.06083); `"freelb"`: several steps from a random point, the mean of the losses
            on the way (Zhu et al., arXiv 1909.11764).
        epsilon: radius of the perturbation of a text, as the L2 norm over its tokens.
        step_size: length of a step of `pgd` and `freelb`.
        steps: steps of `pgd` and `freelb`.
    """

    method: str = "fgm"
    epsilon: float = 1.0
    step_size: float = 0.3
    steps: int = 3

    def __post_init__(self) -> None:
        check_choice(self.method, "method", METHODS)
        check_positive(self.epsilon, "epsilon")
        check_positive(self.step_size, "step_size")
        check_whole(self.steps, "steps", 1)

    @property
    def passes(self) -> int:
        """Forward and backward passes of an update, the one at the texts themselves included."""
        return 2 if self.method == "fgm" else self.steps + 1


class EmbeddingAdversary:
    """Adds the loss at perturbed input embeddings to the loss: `clean + weight * perturbed`.

    The perturbation enters by a hook on the embedding layer, inside the model's forward, so that wrapped and sharded models
    take it as well.

    Args:
        options: see `EmbeddingAdversaryOptions`.
        embeddings: the student's input embeddings.
    """

    def __init__(self, options: EmbeddingAdversaryOptions, embeddings: nn.Embedding):
        self.options = options
        self.embeddings = embeddings

    def backward(
        self,
        attention_mask: torch.Tensor,
        weight: float,
        *,
        loss_of: Callable[[], torch.Tensor],
        ascent_loss_of: Callable[[], torch.Tensor],
        backward: Callable[[torch.Tensor], None],
        no_sync: Callable[[], AbstractContextManager],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs all forward and backward passes of a step.

        Args:
            attention_mask: (batch, tokens), the tokens that may be perturbed.
            weight: of the loss at the perturbed point.
            loss_of: runs the student forward and returns the scalar loss.
            ascent_loss_of: the same for a pass that is only to find a perturbation: on the student as it is, not wrapped.
            backward: takes a scalar and adds its gradient to the parameters.
            no_sync: entered for all passes but the last, so that processes average gradients once.

        Returns:
            The clean loss and the loss at the perturbed point, both detached.
        """
        delta = self._zeros(attention_mask)
        with no_sync(), self._perturbed(delta):
            clean = loss_of()
            backward(clean)
        gradient = delta.grad
        assert gradient is not None
        if self.options.method == "freelb":
            return clean.detach(), self._freelb(attention_mask, weight, loss_of, backward, no_sync)
        if self.options.method == "fgm":
            delta = self.options.epsilon * _unit(gradient * _column(attention_mask))
        else:
            delta = self._ascend(attention_mask, gradient, ascent_loss_of)
        with self._perturbed(delta):
            adversarial = loss_of()
            backward(weight * adversarial)
        return clean.detach(), adversarial.detach()

    def _ascend(
        self, attention_mask: torch.Tensor, gradient: torch.Tensor, ascent_loss_of: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Projected gradient ascent; the first gradient is the clean pass's."""
        delta = self._step(torch.zeros_like(gradient), gradient, attention_mask)
        for _ in range(self.options.steps - 1):
            delta.requires_grad_()
            with self._perturbed(delta):
                (gradient,) = torch.autograd.grad(ascent_loss_of(), delta)
            delta = self._step(delta.detach(), gradient, attention_mask)
        return delta

    def _freelb(
        self,
        attention_mask: torch.Tensor,
        weight: float,
        loss_of: Callable[[], torch.Tensor],
        backward: Callable[[torch.Tensor], None],
        no_sync: Callable[[], AbstractContextManager],
    ) -> torch.Tensor:
        steps = self.options.steps
        start = torch.empty_like(self._zeros(attention_mask)).uniform_(-1, 1) * _column(attention_mask)
        perturbed_values = (attention_mask.bool().sum(1) * start.shape[2]).clamp_min(1).view(-1, 1, 1)
        delta = start.detach() * self.options.epsilon / perturbed_values.sqrt()
        total = torch.zeros((), device=delta.device)
        for step in range(steps):
            delta.requires_grad_()
            if step < steps - 1:
                with no_sync(), self._perturbed(delta):
                    loss = loss_of()
                    backward(loss * (weight / steps))
                assert delta.grad is not None
                delta = self._step(delta.detach(), delta.grad, attention_mask)
            else:
                with self._perturbed(delta.detach()):
                    loss = loss_of()
                    backward(loss * (weight / steps))
            total = total + loss.detach() / steps
        return total

    def _step(self, delta: torch.Tensor, gradient: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One step up, and back onto the ball of radius epsilon."""
        delta = delta + self.options.step_size * _unit(gradient * _column(attention_mask))
        return delta * (self.options.epsilon / _norm(delta)).clamp_max(1.0)

    def _zeros(self, attention_mask: torch.Tensor) -> torch.Tensor:
        shape = (*attention_mask.shape, self.embeddings.embedding_dim)
        weight = self.embeddings.weight
        return torch.zeros(shape, dtype=weight.dtype, device=weight.device, requires_grad=True)

    @contextmanager
    def _perturbed(self, delta: torch.Tensor) -> Iterator[None]:
        handle = self.embeddings.register_forward_hook(lambda module, arguments, output: output + delta)
        try:
            yield
        finally:
            handle.remove()


def _column(attention_mask: torch.Tensor) -> torch.Tensor:
    return attention_mask.bool().unsqueeze(2)


def _norm(delta: torch.Tensor) -> torch.Tensor:
    """L2 norm of each text's perturbation: (batch, tokens, hidden) to (batch, 1, 1)."""
    return delta.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny).view(-1, 1, 1).to(delta.dtype)


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    # By the largest entry first: squares of small gradients vanish.
    largest = gradient.abs().flatten(1).amax(1).clamp_min(torch.finfo(gradient.dtype).tiny).view(-1, 1, 1)
    scaled = gradient / largest
    return scaled / _norm(scaled)
