"""Gradients of a large batch with the memory of a small one (GradCache; Gao et al., arXiv 2101.06983)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from modeling_optical.modeling_optical import OpticalDistillationOutput

# What the encoder reads of a batch; the rest belongs to the loss.
ENCODER_INPUTS = ("input_ids", "attention_mask", "token_mask", "content_mask", "token_weights")


@dataclass
class RandomState:
    """State of the random number generators, so that a second forward pass drops out what the first one did."""

    cpu: torch.Tensor
    device: torch.device
    accelerator: torch.Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """The present state."""
        own = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, own)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Goes back to the state, and on exit to the previous one."""
        with torch.random.fork_rng(devices=[] if self.accelerator is None else [self.device]):
            torch.set_rng_state(self.cpu)
            if self.accelerator is not None:
                torch.cuda.set_rng_state(self.accelerator, self.device)
            yield


def cached_backward(
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    chunk_size: int,
    *,
    loss_of: Callable[[OpticalDistillationOutput], torch.Tensor],
    backward: Callable[[torch.Tensor], None],
    no_sync: Callable[[], AbstractContextManager],
    parameters: Sequence[nn.Parameter] = (),
) -> torch.Tensor:
    """Adds the gradient of a whole batch to the parameters, with the graph of one chunk in memory at a time.

    All chunks are encoded without a graph, and the loss and its gradient are taken on their vectors. Then each chunk is encoded
    again, with a graph and the same dropout, and receives the gradient of its vectors. The result is the gradient of
    `loss_of(model(batch))`, not an approximation, whatever the chunk size.

    Args:
        model: the student, wrapped as it is trained.
        inputs: the batch; `ENCODER_INPUTS` of it reach the model.
        chunk_size: texts at a time.
        loss_of: from the output for the whole batch to a scalar.
        backward: called with a scalar per chunk, instead of its `backward()`.
        no_sync: entered for all chunks but the last, so that processes average gradients once.
        parameters: those that `loss_of` has beside the model.

    Returns:
        The loss, detached.
    """
    return cached_backward_of_sides(
        model,
        [inputs],
        chunk_size,
        loss_of=lambda outputs: loss_of(outputs[0]),
        backward=backward,
        no_sync=no_sync,
        parameters=parameters,
    )


def cached_backward_of_sides(
    model: nn.Module,
    sides: Sequence[Mapping[str, torch.Tensor]],
    chunk_size: int,
    *,
    loss_of: Callable[[list[OpticalDistillationOutput]], torch.Tensor],
    backward: Callable[[torch.Tensor], None],
    no_sync: Callable[[], AbstractContextManager],
    parameters: Sequence[nn.Parameter] = (),
) -> torch.Tensor:
    """`cached_backward` for a loss of several batches that one model encodes, such as queries and passages.

    Args:
        sides: the batches; they may differ in the number of texts and of tokens.
        loss_of: from the outputs for all of them, in their order, to a scalar.
        model, chunk_size, backward, no_sync, parameters: as for `cached_backward`.

    Returns:
        The loss, detached.
    """
    chunks = [list(_chunks(side, chunk_size)) for side in sides]
    states: list[list[RandomState]] = []
    outputs: list[OpticalDistillationOutput] = []
    for own in chunks:
        states.append([])
        encoded = []
        with torch.no_grad():
            for chunk in own:
                states[-1].append(RandomState.now(chunk["input_ids"].device))
                encoded.append(model(**chunk))
        outputs.append(_together(encoded))
    vectors: list[torch.Tensor] = [output["token_vectors"] for output in outputs]
    loss = loss_of(outputs)
    gradients = torch.autograd.grad(loss, [*vectors, *parameters])
    passes = [
        (chunk, state, gradient)
        for own, own_states, of_side in zip(chunks, states, gradients[: len(sides)], strict=True)
        for chunk, state, gradient in zip(own, own_states, of_side.split(chunk_size), strict=True)
    ]
    for index, (chunk, state, gradient) in enumerate(passes):
        last = index == len(passes) - 1
        with nullcontext() if last else no_sync():
            with state.restored():
                again = model(**chunk).token_vectors
            # Its gradient with respect to the weights is the chunk's share of the loss's gradient.
            product = (again * gradient).sum()
            if last:  # here, because processes synchronise what the last backward pass reaches
                for parameter, own_gradient in zip(parameters, gradients[len(sides) :], strict=True):
                    product = product + (parameter * own_gradient).sum()
            backward(product)
    return loss.detach()


def _chunks(inputs: Mapping[str, torch.Tensor], chunk_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """The encoder's inputs of a batch, `chunk_size` texts at a time."""
    encoder_inputs = {name: inputs[name] for name in ENCODER_INPUTS if name in inputs}
    for start in range(0, encoder_inputs["input_ids"].shape[0], chunk_size):
        yield {name: value[start : start + chunk_size] for name, value in encoder_inputs.items()}


def _together(outputs: Sequence[Any]) -> OpticalDistillationOutput:
    """The outputs of chunks as one, whose vectors ask for a gradient."""
    weights = [output.token_weights for output in outputs]
    return OpticalDistillationOutput(
        token_vectors=torch.cat([output.token_vectors for output in outputs]).requires_grad_(),
        token_mask=torch.cat([output.token_mask for output in outputs]),
        token_weights=None if weights[0] is None else torch.cat(weights),
    )
