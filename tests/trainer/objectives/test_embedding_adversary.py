"""Perturbed embeddings: inside the ball, uphill, and in the sum with the clean loss."""

import contextlib

import pytest
import torch

from trainer import DistillationCollator, OpticalTrainingArguments
from trainer.objectives.embedding_adversary import EmbeddingAdversary, EmbeddingAdversaryOptions


@pytest.fixture
def batch(student, teacher, bitext):
    return DistillationCollator(student.processor, teacher)([bitext[i] for i in range(6)])


class Seen(EmbeddingAdversary):
    """Keeps the perturbations that it applies."""

    def _perturbed(self, delta):
        self.deltas = [*getattr(self, "deltas", []), delta.detach().clone()]
        return super()._perturbed(delta)


def run(student, batch, weight=0.5, **options):
    adversary = Seen(EmbeddingAdversaryOptions(**options), student.get_input_embeddings())

    def loss_of():
        return student(**batch).loss

    clean, adversarial = adversary.backward(
        batch["attention_mask"],
        weight,
        loss_of=loss_of,
        ascent_loss_of=loss_of,
        backward=torch.Tensor.backward,
        no_sync=contextlib.nullcontext,
    )
    found = {name: p.grad.clone() for name, p in student.named_parameters()}
    student.zero_grad()
    return adversary, clean, adversarial, found


@pytest.mark.parametrize("method", ["fgm", "pgd", "freelb"])
def test_a_perturbation_stays_in_its_ball_and_off_the_padding(student, batch, method):
    adversary, _, _, _ = run(student, batch, method=method, epsilon=0.4, step_size=0.3, steps=3)
    for delta in adversary.deltas[1:]:
        norms = delta.flatten(1).norm(dim=1)
        assert bool((norms <= 0.4 + 1e-5).all())
        assert bool((norms > 0).all())
        assert not delta[~batch["attention_mask"].bool()].any()
    assert not adversary.deltas[0].any()


def test_fgm_goes_the_whole_way_along_each_texts_gradient(student, batch):
    delta = torch.zeros(*batch["input_ids"].shape, 32, requires_grad=True)
    handle = student.get_input_embeddings().register_forward_hook(lambda module, arguments, output: output + delta)
    (gradient,) = torch.autograd.grad(student(**batch).loss, delta)
    handle.remove()
    adversary, _, _, _ = run(student, batch, epsilon=0.3)
    wanted = 0.3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1)
    torch.testing.assert_close(adversary.deltas[1], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["fgm", "pgd"])
def test_the_loss_is_higher_at_the_perturbed_point(student, batch, method):
    _, clean, adversarial, _ = run(student, batch, method=method, epsilon=0.3, step_size=0.15)
    assert float(adversarial) > float(clean) + 1e-4


def test_the_gradient_is_that_of_the_clean_loss_and_the_weighted_perturbed_one(student, batch):
    adversary, clean, adversarial, found = run(student, batch, weight=0.7, epsilon=0.3)
    handle = student.get_input_embeddings().register_forward_hook(lambda m, a, output: output + adversary.deltas[-1])
    perturbed = student(**batch).loss
    handle.remove()
    plain = student(**batch).loss
    (plain + 0.7 * perturbed).backward()
    torch.testing.assert_close((clean, adversarial), (plain.detach(), perturbed.detach()))
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_freelb_averages_the_losses_on_its_way(student, batch):
    adversary, _, adversarial, found = run(student, batch, weight=1.0, method="freelb", steps=2, epsilon=0.3)
    embeddings = student.get_input_embeddings()
    total = student(**batch).loss
    way = 0
    for delta in adversary.deltas[1:]:
        handle = embeddings.register_forward_hook(lambda m, a, output, delta=delta: output + delta)
        way = way + student(**batch).loss / 2
        handle.remove()
    (total + way).backward()
    torch.testing.assert_close(adversarial, way.detach())
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_nothing_is_left_on_the_embeddings(student, batch):
    with torch.no_grad():
        before = student(**batch).token_vectors
    run(student, batch, method="pgd")
    with torch.no_grad():
        assert torch.equal(student(**batch).token_vectors, before)


def test_it_does_not_go_with_gradient_caching(tmp_path):
    with pytest.raises(ValueError, match="embedding_adversary and gradient_cache_chunk_size cannot go together"):
        OpticalTrainingArguments(
            output_dir=str(tmp_path), objectives={"transport": 1, "embedding_adversary": 1}, gradient_cache_chunk_size=4
        )


@pytest.mark.parametrize(("method", "passes"), [("fgm", 2), ("pgd", 4), ("freelb", 4)])
def test_what_a_method_says_it_costs_is_how_often_the_student_runs(student, batch, method, passes):
    adversary, _, _, _ = run(student, batch, method=method, steps=3)
    assert adversary.options.passes == passes == len(adversary.deltas)
