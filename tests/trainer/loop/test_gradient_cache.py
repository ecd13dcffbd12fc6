"""The gradient of a large batch, in chunks: the same numbers, the same scale, the same dropout."""

import contextlib

import pytest
import torch

from trainer import DistillationCollator, ObjectiveContext, build_objectives
from trainer.loop.gradient_cache import ENCODER_INPUTS, RandomState, cached_backward

CONTEXT = ObjectiveContext(dim=8, languages=("sw",), seed=0)


@pytest.fixture
def batch(student, teacher, bitext):
    collator = DistillationCollator(student.processor, teacher, with_source_keys=True, languages=["sw"])
    return collator([bitext[i] for i in range(12)])


def gradients(student, objectives):
    found = {name: p.grad.clone() for name, p in [*student.named_parameters(), *objectives.named_parameters()]}
    student.zero_grad()
    objectives.zero_grad()
    return found


def set_dropout(student, probability):
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 100])
@pytest.mark.parametrize(
    "asked",
    [{"contrastive": 1.0}, {"contrastive": {"weight": 2.0, "bidirectional": True}, "score_kl": 1.0, "language_adversary": 0.3}],
    ids=["contrastive", "all"],
)
def test_the_gradient_and_its_scale_are_those_of_the_whole_batch(student, batch, asked, chunk_size):
    student.train()
    objectives = build_objectives(asked, CONTEXT)
    encoder_inputs = {name: value for name, value in batch.items() if name in ENCODER_INPUTS}
    loss, _ = objectives(student(**encoder_inputs), batch, 0, 1)
    loss.backward()
    wanted = gradients(student, objectives)
    passes = []
    found = cached_backward(
        student,
        batch,
        chunk_size,
        loss_of=lambda output: objectives(output, batch, 0, 1)[0],
        backward=lambda value: (passes.append(1), value.backward()),
        no_sync=contextlib.nullcontext,
        parameters=list(objectives.parameters()),
    )
    torch.testing.assert_close(found, loss.detach())
    assert len(passes) == -(-12 // chunk_size)
    for name, gradient in gradients(student, objectives).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=2e-4, atol=2e-6, msg=name)


def test_dropout_of_the_second_pass_is_that_of_the_first(student, batch):
    student.train()
    set_dropout(student, 0.3)
    objectives = build_objectives({"contrastive": 1.0}, CONTEXT)
    encoder_inputs = {name: value for name, value in batch.items() if name in ENCODER_INPUTS}
    # Uncached, but encoded in the same chunks, so that the generator draws the same numbers.
    torch.manual_seed(11)
    outputs = [student(**{name: value[i : i + 5] for name, value in encoder_inputs.items()}) for i in (0, 5, 10)]
    after = torch.get_rng_state()
    together = {name: torch.cat([getattr(o, name) for o in outputs]) for name in ("token_vectors", "token_mask")}
    loss, _ = objectives(together, batch, 0, 1)
    loss.backward()
    wanted = gradients(student, objectives)
    torch.manual_seed(11)
    cached_backward(
        student,
        batch,
        5,
        loss_of=lambda output: objectives(output, batch, 0, 1)[0],
        backward=torch.Tensor.backward,
        no_sync=contextlib.nullcontext,
    )
    assert torch.equal(torch.get_rng_state(), after)
    for name, gradient in gradients(student, objectives).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=2e-4, atol=2e-6, msg=name)


def test_a_random_state_comes_back_and_leaves_the_present_one_alone():
    state = RandomState.now(torch.device("cpu"))
    first = torch.rand(3)
    with state.restored():
        assert torch.equal(torch.rand(3), first)
    second = torch.rand(3)
    assert not torch.equal(first, second)


def test_only_the_last_pass_synchronises_processes(student, batch):
    objectives = build_objectives({"pooled_mse": 1.0}, CONTEXT)
    seen, held_back = [], []

    @contextlib.contextmanager
    def no_sync():
        held_back.append(True)
        yield
        held_back.pop()

    cached_backward(
        student,
        batch,
        4,
        loss_of=lambda output: objectives(output, batch, 0, 1)[0],
        backward=lambda value: seen.append(bool(held_back)),
        no_sync=no_sync,
    )
    assert seen == [True, True, False]
