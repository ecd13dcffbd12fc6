"""Each objective against its equation, written out."""

import pytest
import torch
from torch.nn import functional

from modeling_optical import cosine_cost, solve_transport
from modeling_optical.late_interaction import maxsim
from trainer.objectives import (
    Contrastive,
    ContrastiveOptions,
    LanguageAdversary,
    LanguageAdversaryOptions,
    NoOptions,
    ObjectiveContext,
    PooledMSE,
    ScoreKL,
    ScoreKLOptions,
    TokenMSE,
)
from trainer.objectives.scoring.scores import mean_maxsim

CONTEXT = ObjectiveContext(dim=6, languages=("so", "sw"), seed=1)


def texts(count: int, tokens: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors (count, tokens, 6) of texts of different lengths, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    vectors = functional.normalize(torch.randn(count, tokens, 6, generator=generator, dtype=torch.float64), dim=-1)
    lengths = torch.randint(1, tokens + 1, (count,), generator=generator)
    mask = torch.arange(tokens) < lengths.unsqueeze(1)
    return torch.where(mask.unsqueeze(2), vectors, 0), mask


@pytest.fixture
def output():
    vectors, mask = texts(5, 4, 0)
    return {"token_vectors": vectors.requires_grad_(), "token_mask": mask}


@pytest.fixture
def batch():
    vectors, mask = texts(5, 6, 1)
    return {
        "teacher_vectors": vectors,
        "teacher_mask": mask,
        "source_keys": torch.arange(5),
        "language_ids": torch.tensor([0, 1, 1, 0, 1]),
    }


def logits(output, vectors, mask, temperature):
    """MaxSim per query token, over the temperature, one pair at a time."""
    rows = []
    for query, query_mask in zip(output["token_vectors"], output["token_mask"], strict=True):
        scores = [(query[query_mask] @ d[m].T).amax(1).mean() for d, m in zip(vectors, mask, strict=True)]
        rows.append(torch.stack(scores) / temperature)
    return torch.stack(rows)


def test_contrastive_is_the_cross_entropy_of_the_own_source(output, batch):
    loss, parts = Contrastive(ContrastiveOptions(temperature=0.2), CONTEXT)(output, batch)
    wanted = logits(output, batch["teacher_vectors"], batch["teacher_mask"], 0.2)
    torch.testing.assert_close(loss, functional.cross_entropy(wanted, torch.arange(5)))
    assert parts["contrastive_accuracy"] == (wanted.argmax(1) == torch.arange(5)).float().mean()


def test_both_directions_of_contrastive_are_averaged(output, batch):
    loss, _ = Contrastive(ContrastiveOptions(temperature=0.2, bidirectional=True), CONTEXT)(output, batch)
    wanted = logits(output, batch["teacher_vectors"], batch["teacher_mask"], 0.2)
    own = torch.arange(5)
    torch.testing.assert_close(loss, (functional.cross_entropy(wanted, own) + functional.cross_entropy(wanted.T, own)) / 2)


def test_a_source_that_stands_twice_is_no_negative_of_itself(output, batch):
    batch["source_keys"] = torch.tensor([7, 1, 7, 3, 4])
    loss, _ = Contrastive(ContrastiveOptions(temperature=0.2), CONTEXT)(output, batch)
    wanted = logits(output, batch["teacher_vectors"], batch["teacher_mask"], 0.2)
    wanted[0, 2] = wanted[2, 0] = -torch.inf
    torch.testing.assert_close(loss, functional.cross_entropy(wanted, torch.arange(5)))


def test_score_kl_is_the_divergence_of_the_students_ranking_from_the_teachers(output, batch):
    loss, _ = ScoreKL(ScoreKLOptions(temperature=0.3), CONTEXT)(output, batch)
    sources = (batch["teacher_vectors"], batch["teacher_mask"])
    student = logits(output, *sources, 0.3).softmax(1)
    teacher = logits({"token_vectors": sources[0], "token_mask": sources[1]}, *sources, 0.3).softmax(1)
    torch.testing.assert_close(loss, (teacher * (teacher / student).log()).sum(1).mean())
    assert loss > 0


def test_score_kl_takes_given_passages_in_place_of_the_batch(output, batch):
    objective = ScoreKL(ScoreKLOptions(temperature=0.3, passages="file"), CONTEXT)
    vectors, mask = texts(9, 7, 2)
    loss, _ = objective(output, batch | {"passage_vectors": vectors, "passage_mask": mask})
    teacher = {"token_vectors": batch["teacher_vectors"], "token_mask": batch["teacher_mask"]}
    wanted, found = logits(teacher, vectors, mask, 0.3).softmax(1), logits(output, vectors, mask, 0.3).log_softmax(1)
    torch.testing.assert_close(loss, functional.kl_div(found, wanted, reduction="batchmean"))


def test_a_student_with_the_teachers_vectors_has_no_loss(batch):
    own = {"token_vectors": batch["teacher_vectors"], "token_mask": batch["teacher_mask"]}
    solved = solve_transport(
        cosine_cost(batch["teacher_vectors"], batch["teacher_vectors"]),
        batch["teacher_mask"],
        batch["teacher_mask"],
        solver="exact",
    )
    for objective in (ScoreKL(ScoreKLOptions(), CONTEXT), PooledMSE(NoOptions(), CONTEXT), TokenMSE(NoOptions(), CONTEXT)):
        loss, _ = objective(own | {"plan": solved}, batch)
        assert float(loss) == pytest.approx(0, abs=1e-9), objective.name


def test_token_mse_is_twice_the_transport_cost_for_a_plan_that_is_one_to_one(batch):
    mask = torch.ones(5, 6, dtype=torch.bool)
    student = functional.normalize(torch.randn(5, 6, 6, dtype=torch.float64), dim=-1)
    teacher = functional.normalize(torch.randn(5, 6, 6, dtype=torch.float64), dim=-1)
    solved = solve_transport(cosine_cost(student, teacher), mask, mask, solver="exact")
    output = {"token_vectors": student, "token_mask": mask, "plan": solved}
    loss, _ = TokenMSE(NoOptions(), CONTEXT)(output, {"teacher_vectors": teacher, "teacher_mask": mask})
    torch.testing.assert_close(loss, 2 * solved.cost.mean())


def test_token_mse_measures_against_the_barycentre_of_what_a_token_receives(output, batch):
    solved = solve_transport(
        cosine_cost(output["token_vectors"], batch["teacher_vectors"]), output["token_mask"], batch["teacher_mask"], epsilon=0.5
    )
    loss, _ = TokenMSE(NoOptions(), CONTEXT)(output | {"plan": solved}, batch)
    total = 0.0
    for text in range(5):
        for i in output["token_mask"][text].nonzero()[:, 0]:
            mass = solved.plan[text, i].sum()
            target = (solved.plan[text, i].unsqueeze(1) * batch["teacher_vectors"][text]).sum(0) / mass
            total += mass * (output["token_vectors"][text, i] - target).square().sum() / 5
    torch.testing.assert_close(loss, total)


def test_the_language_adversary_teaches_the_classifier_and_unteaches_the_student(output, batch):
    output["token_vectors"] = output["token_vectors"].detach().float().requires_grad_()
    objective = LanguageAdversary(LanguageAdversaryOptions(hidden_size=0, reversal=0.5), CONTEXT)
    loss, _ = objective(output, batch)
    found = torch.autograd.grad(loss, [output["token_vectors"], objective.classifier[0].weight])

    def mean(vectors, mask):
        return (vectors * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)

    pooled = torch.cat(
        [mean(batch["teacher_vectors"].float(), batch["teacher_mask"]), mean(output["token_vectors"], output["token_mask"])]
    )
    languages = torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, 1, 2])
    plain = functional.cross_entropy(objective.classifier(pooled), languages)
    wanted = torch.autograd.grad(plain, [output["token_vectors"], objective.classifier[0].weight])
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(found[0], -0.5 * wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


def test_an_adversary_starts_from_its_own_seed_and_leaves_the_others_alone():
    state = torch.get_rng_state()
    first, second = (LanguageAdversary(LanguageAdversaryOptions(), CONTEXT) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_scores_in_blocks_are_the_scores_and_gradients_of_one_block():
    queries, query_mask = texts(7, 4, 3)
    documents, document_mask = texts(6, 5, 4)
    queries.requires_grad_()
    whole = maxsim(queries, documents, query_mask, document_mask) / query_mask.sum(1, keepdim=True)
    blocks = mean_maxsim(queries, documents, query_mask, document_mask, most_similarities=2 * 4 * 6 * 5)
    torch.testing.assert_close(blocks, whole)
    weights = torch.randn(7, 6, dtype=torch.float64)
    wanted = torch.autograd.grad((whole * weights).sum(), queries)
    torch.testing.assert_close(torch.autograd.grad((blocks * weights).sum(), queries), wanted)
