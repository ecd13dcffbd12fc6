"""Every solver against POT, and against itself under every change that must not matter."""

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_optical import TransportOptions, cosine_cost, solve_transport, transport_cost, transport_loss
from modeling_optical.transport_options import SOLVERS
from modeling_optical.transport_problems import Problems, marginals

BALANCED = ("sinkhorn", "ipot", "exact")
# What one solver takes to make a plan as definite as the tests ask for.
PRECISELY = {"tolerance": 1e-6, "max_iterations": 20_000, "epsilon": 0.1}
quickly = settings(max_examples=15, deadline=None)


def problems(batch: int, rows: int, columns: int, seed: int = 0, dim: int = 16):
    """Ragged problems in which row tokens are noisy copies of column tokens, as translations are."""
    torch.manual_seed(seed)
    teacher = torch.randn(batch, columns, dim)
    copied = teacher.gather(1, torch.randint(columns, (batch, rows, 1)).expand(-1, -1, dim))
    student = copied + 0.7 * torch.randn(batch, rows, dim)
    normal = torch.nn.functional.normalize
    row_mask = torch.arange(rows) < torch.randint(1, rows + 1, (batch, 1))
    column_mask = torch.arange(columns) < torch.randint(1, columns + 1, (batch, 1))
    return cosine_cost(normal(student, dim=-1), normal(teacher, dim=-1)), row_mask, column_mask


def dense(cost: torch.Tensor, row_mask: torch.Tensor, column_mask: torch.Tensor, index: int):
    """One problem of a batch for POT: marginals and cost in double precision."""
    n, m = int(row_mask[index].sum()), int(column_mask[index].sum())
    return np.full(n, 1 / n), np.full(m, 1 / m), cost[index, :n, :m].double().numpy()


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.02])
def test_converged_ipot_is_within_a_thousandth_of_the_exact_cost(epsilon):
    cost, row_mask, column_mask = problems(24, 14, 17)
    solved = solve_transport(cost, row_mask, column_mask, solver="ipot", epsilon=epsilon, tolerance=1e-4)
    assert bool(solved.converged.all())
    assert float(solved.marginal_error.max()) <= 1e-4
    for index in range(24):
        exact = ot.emd2(*dense(cost, row_mask, column_mask, index))
        assert float(solved.cost[index]) == pytest.approx(exact, rel=1e-3, abs=1e-6)


def test_ipot_says_when_it_has_not_reached_the_optimum():
    cost, row_mask, column_mask = problems(8, 14, 17)
    row_mask[:], column_mask[:] = True, True
    solved = solve_transport(cost, solver="ipot", epsilon=0.5, max_iterations=5)
    assert not bool(solved.converged.any())
    assert solved.iterations.tolist() == [5] * 8


def test_sinkhorn_equals_pot():
    cost, row_mask, column_mask = problems(8, 14, 17, seed=1)
    solved = solve_transport(cost, row_mask, column_mask, epsilon=0.05, tolerance=1e-6)
    for index in range(8):
        a, b, dense_cost = dense(cost, row_mask, column_mask, index)
        plan = ot.sinkhorn(a, b, dense_cost, 0.05, method="sinkhorn_log", numItermax=100_000, stopThr=1e-12)
        np.testing.assert_allclose(solved.plan[index, : len(a), : len(b)].numpy(), plan, atol=1e-5)


def test_unbalanced_equals_pot():
    cost, row_mask, column_mask = problems(8, 9, 11, seed=2)
    arguments = {"epsilon": 0.05, "marginal_penalty": 0.5, "tolerance": 1e-6}
    solved = solve_transport(cost, row_mask, column_mask, solver="unbalanced", **arguments)
    assert bool(solved.converged.all())
    for index in range(8):
        a, b, dense_cost = dense(cost, row_mask, column_mask, index)
        plan = ot.unbalanced.sinkhorn_unbalanced(a, b, dense_cost, 0.05, 0.5, reg_type="kl", numItermax=50_000, stopThr=1e-13)
        np.testing.assert_allclose(solved.plan[index, : len(a), : len(b)].numpy(), plan, atol=1e-5)


def test_a_large_penalty_makes_unbalanced_transport_balanced():
    cost, row_mask, column_mask = problems(4, 6, 7, seed=3)
    balanced = solve_transport(cost, row_mask, column_mask, tolerance=1e-6, epsilon=0.1)
    arguments = {"solver": "unbalanced", "marginal_penalty": 1e3, "tolerance": 1e-6, "epsilon": 0.1}
    relaxed = solve_transport(cost, row_mask, column_mask, **arguments)
    torch.testing.assert_close(relaxed.plan, balanced.plan, atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_partial_equals_pot_and_stays_within_the_marginals(share):
    cost, row_mask, column_mask = problems(8, 9, 11, seed=4)
    arguments = {"epsilon": 0.05, "moved_share": share, "tolerance": 1e-6, "max_iterations": 50_000}
    solved = solve_transport(cost.double(), row_mask, column_mask, solver="partial", **arguments)
    assert bool(solved.converged.all())
    torch.testing.assert_close(solved.plan.sum((1, 2)), torch.full((8,), share, dtype=torch.float64))
    for index in range(8):
        a, b, dense_cost = dense(cost, row_mask, column_mask, index)
        plan = ot.partial.entropic_partial_wasserstein(a, b, dense_cost, 0.05, m=share, numItermax=5000, stopThr=1e-9)
        ours = solved.plan[index, : len(a), : len(b)].numpy()
        np.testing.assert_allclose(ours, plan, atol=1e-4)
        assert (ours.sum(1) <= a + 1e-5).all()
        assert (ours.sum(0) <= b + 1e-5).all()


def test_moving_everything_partially_is_balanced_transport():
    cost = problems(4, 6, 7, seed=5)[0].double()
    partial = solve_transport(cost, solver="partial", moved_share=1.0, epsilon=0.1, tolerance=1e-6, max_iterations=50_000)
    balanced = solve_transport(cost, epsilon=0.1, tolerance=1e-8)
    torch.testing.assert_close(partial.plan, balanced.plan, atol=1e-4, rtol=0)


def test_greedy_sends_each_row_to_its_nearest_column():
    cost, row_mask, column_mask = problems(6, 5, 8, seed=6)
    solved = solve_transport(cost, row_mask, column_mask, solver="greedy")
    for index in range(6):
        a, b, dense_cost = dense(cost, row_mask, column_mask, index)
        expected = np.zeros_like(dense_cost)
        expected[np.arange(len(a)), dense_cost.argmin(1)] = a
        np.testing.assert_allclose(solved.plan[index, : len(a), : len(b)].numpy(), expected, rtol=1e-6)
    assert bool(solved.converged.all())
    assert bool((solved.cost <= solve_transport(cost, row_mask, column_mask, solver="exact").cost + 1e-6).all())


@quickly
@given(seed=st.integers(0, 10_000), padding=st.integers(1, 5), solver=st.sampled_from(SOLVERS))
def test_padding_of_any_content_changes_no_solver(seed, padding, solver):
    torch.manual_seed(seed)
    rows, columns = (int(x) for x in torch.randint(1, 9, (2,)))
    cost = torch.rand(2, rows, columns)
    padded = torch.full((2, rows + padding, columns + padding), float("nan"))
    padded[:, :rows, :columns] = cost
    masks = [(torch.arange(n + padding) < n).expand(2, -1) for n in (rows, columns)]
    alone = solve_transport(cost, solver=solver, **PRECISELY)
    solved = solve_transport(padded, *masks, solver=solver, **PRECISELY)
    torch.testing.assert_close(solved.cost, alone.cost, atol=1e-5, rtol=1e-3 if solver == "ipot" else 1e-5)
    if solver != "ipot":
        torch.testing.assert_close(solved.plan[:, :rows, :columns], alone.plan, atol=1e-5, rtol=0)
    assert float(solved.plan[:, rows:].abs().sum() + solved.plan[:, :, columns:].abs().sum()) == 0.0


@quickly
@given(seed=st.integers(0, 10_000), solver=st.sampled_from(SOLVERS))
def test_permuted_tokens_give_every_solver_the_permuted_plan(seed, solver):
    torch.manual_seed(seed)
    cost = torch.rand(2, 6, 7)
    rows, columns = torch.randperm(6), torch.randperm(7)
    plain = solve_transport(cost, solver=solver, **PRECISELY)
    permuted = solve_transport(cost[:, rows][:, :, columns], solver=solver, **PRECISELY)
    torch.testing.assert_close(permuted.cost, plain.cost, atol=1e-5, rtol=1e-3 if solver == "ipot" else 1e-5)
    if solver != "ipot":
        torch.testing.assert_close(permuted.plan, plain.plan[:, rows][:, :, columns], atol=2e-5, rtol=0)


@quickly
@given(seed=st.integers(0, 10_000), solver=st.sampled_from([s for s in SOLVERS if s != "greedy"]))
def test_transposed_problems_cost_the_same(seed, solver):
    cost, row_mask, column_mask = problems(3, 6, 8, seed=seed)
    plain = solve_transport(cost, row_mask, column_mask, solver=solver, **PRECISELY)
    turned = solve_transport(cost.transpose(1, 2), column_mask, row_mask, solver=solver, **PRECISELY)
    torch.testing.assert_close(turned.cost, plain.cost, atol=1e-4, rtol=1e-3)


@quickly
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 0.1, 7.0, 1e5]), solver=st.sampled_from(SOLVERS))
def test_scaling_costs_and_epsilon_together_leaves_the_plan(seed, scale, solver):
    cost, row_mask, column_mask = problems(2, 6, 7, seed=seed)
    both = {"tolerance": 1e-5, "max_iterations": 20_000}
    plain = solve_transport(cost, row_mask, column_mask, solver=solver, epsilon=0.1, marginal_penalty=1.0, **both)
    scaled = solve_transport(
        cost * scale, row_mask, column_mask, solver=solver, epsilon=0.1 * scale, marginal_penalty=scale, **both
    )
    torch.testing.assert_close(scaled.cost / scale, plain.cost, atol=1e-4, rtol=1e-3)
    if solver in ("sinkhorn", "unbalanced"):
        torch.testing.assert_close(scaled.plan, plain.plan, atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_batch_of_many_sizes_equals_its_items_one_by_one(solver):
    cost, row_mask, column_mask = problems(120, 40, 46, seed=7)
    arguments = {"solver": solver, "epsilon": 0.05, "tolerance": 1e-5, "max_iterations": 2000}
    together = solve_transport(cost, row_mask, column_mask, **arguments)
    for index in range(0, 120, 8):
        part = slice(index, index + 1)
        alone = solve_transport(cost[part], row_mask[part], column_mask[part], **arguments)
        torch.testing.assert_close(together.cost[part], alone.cost, atol=1e-5, rtol=1e-3 if solver == "ipot" else 1e-5)
        if solver != "ipot":
            torch.testing.assert_close(together.plan[part], alone.plan, atol=2e-5, rtol=0)
        assert bool(together.converged[index]) == bool(alone.converged[0])


def test_the_order_of_a_batch_does_not_matter():
    cost, row_mask, column_mask = problems(64, 30, 30, seed=8)
    order = torch.randperm(64)
    plain = solve_transport(cost, row_mask, column_mask, epsilon=0.02)
    shuffled = solve_transport(cost[order], row_mask[order], column_mask[order], epsilon=0.02)
    torch.testing.assert_close(shuffled.plan, plain.plan[order], atol=1e-5, rtol=0)


@pytest.mark.parametrize("solver", BALANCED)
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_one_token_against_many_has_only_one_plan(solver, shape):
    cost = torch.rand(3, *shape)
    solved = solve_transport(cost, solver=solver)
    torch.testing.assert_close(solved.plan, torch.full_like(cost, 1 / math.prod(shape)), atol=1e-6, rtol=0)
    assert bool(solved.converged.all())


@pytest.mark.parametrize("solver", SOLVERS)
def test_identical_tokens_cost_nothing(solver):
    vectors = torch.nn.functional.normalize(torch.randn(2, 6, 8), dim=-1)
    vectors[:, 3] = vectors[:, 1]
    loss, plan = transport_loss(
        vectors,
        vectors,
        *[torch.ones(2, 6, dtype=torch.bool)] * 2,
        options=TransportOptions(solver=solver, epsilon=0.01, max_iterations=5000),
    )
    assert float(loss) == pytest.approx(0, abs=2e-3)
    assert bool(torch.isfinite(plan.plan).all())


DEGENERATE = {
    "zero": torch.zeros(2, 4, 5),
    "denormal": torch.full((2, 4, 5), 1e-42),
    "constant": torch.full((2, 4, 5), 2.0),
    "huge": torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)) * 1e6,
    "negative": -torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1)),
    "one huge": torch.zeros(2, 4, 5).index_fill(1, torch.tensor([2]), 1e30),
}


@pytest.mark.parametrize("cost", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("solver", SOLVERS)
def test_degenerate_costs_give_every_solver_finite_plans(cost, solver):
    solved = solve_transport(cost, solver=solver, max_iterations=300, moved_share=0.5)
    assert bool(torch.isfinite(solved.plan).all())
    assert bool(torch.isfinite(solved.cost).all())
    assert float(solved.plan.min()) >= 0
    if solver in (*BALANCED, "greedy"):
        torch.testing.assert_close(solved.plan.sum((1, 2)), torch.ones(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_empty_problems_cost_nothing_in_every_solver(solver):
    cost, row_mask, column_mask = problems(4, 5, 6, seed=9)
    row_mask[1], column_mask[2] = False, False
    cost[1] = float("nan")
    cost.requires_grad_()
    value, plan = transport_cost(cost, row_mask, column_mask, solver=solver)
    value.sum().backward()
    assert value[[1, 2]].tolist() == [0.0, 0.0]
    assert bool(plan.converged[[1, 2]].all())
    assert float(cost.grad[[1, 2]].abs().sum()) == 0.0
    assert float(cost.grad[0].sum()) > 0


@pytest.mark.parametrize("annealing", ["none", "geometric"])
@pytest.mark.parametrize("epsilon", [0.01, 0.002])
def test_small_epsilons_converge_with_and_without_annealing(epsilon, annealing):
    cost, row_mask, column_mask = problems(12, 20, 24, seed=10)
    solved = solve_transport(cost, row_mask, column_mask, epsilon=epsilon, annealing=annealing, tolerance=1e-4)
    assert bool(solved.converged.all())
    exact = solve_transport(cost, row_mask, column_mask, solver="exact").cost
    bias = epsilon * (torch.minimum(row_mask.sum(1), column_mask.sum(1)).log() + 0.1)
    assert bool((solved.cost - exact <= bias).all())
    assert bool((solved.cost - exact >= -1e-3).all())


def test_tiny_weights_and_far_columns_do_not_break_sinkhorn():
    cost = problems(4, 8, 8, seed=11)[0]
    weights = torch.rand(4, 8) + 1e-30
    weights[:, 2] = 1e-30
    cost[:, :, 3] += 50.0
    solved = solve_transport(cost, row_weights=weights, epsilon=0.05, tolerance=1e-4)
    assert bool(torch.isfinite(solved.plan).all())
    assert bool(solved.converged.all())


def test_gradcheck_of_the_regularised_unbalanced_value():
    torch.manual_seed(0)
    cost = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    row_mask = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])
    arguments = {"solver": "unbalanced", "epsilon": 0.2, "tolerance": 1e-14, "max_iterations": 10_000}
    assert torch.autograd.gradcheck(lambda c: transport_cost(c, row_mask, regularized=True, **arguments)[0], (cost,))


def test_a_regularised_value_is_refused_where_it_has_no_meaning():
    with pytest.raises(ValueError, match="'ipot'"):
        transport_cost(torch.rand(1, 2, 3), solver="ipot", regularized=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annealing": "linear"}, "annealing is 'linear'"),
        ({"marginal_penalty": 0}, "marginal_penalty is 0"),
        ({"moved_share": 1.5}, "moved_share is 1.5"),
    ],
)
def test_wrong_options_are_refused_with_the_reason(options, message):
    with pytest.raises(ValueError, match=message):
        TransportOptions(**options)


def test_buckets_hold_every_problem_once_and_all_of_its_mass():
    cost, row_mask, column_mask = problems(200, 60, 64, seed=12)
    row_mask[7] = False
    a, b = row_mask.float() * row_mask.any(1, keepdim=True), column_mask.float()
    seen = []
    for bucket in Problems(cost, a, b).buckets():
        seen += bucket.index.tolist()
        torch.testing.assert_close(bucket.a.sum(1), a[bucket.index].sum(1))
        torch.testing.assert_close(bucket.b.sum(1), b[bucket.index].sum(1))
        assert float(bucket.cost[~bucket.support()].abs().sum()) == 0.0
    assert sorted(seen) == [i for i in range(200) if i != 7]


@pytest.mark.parametrize("solver", ["sinkhorn", "unbalanced", "partial"])
@pytest.mark.parametrize(("epsilon", "annealing"), [(0.3, "none"), (0.05, "none"), (0.004, "none"), (0.02, "geometric")])
@pytest.mark.parametrize("shape", [(7, 5, 9), (3, 40, 30), (60, 50, 64)])
def test_a_plan_keeps_the_potentials_that_it_is_made_of(solver, epsilon, annealing, shape):
    cost, row_mask, column_mask = problems(*shape, seed=3)
    row_mask[1] = False
    solved = solve_transport(
        cost, row_mask, column_mask, solver=solver, epsilon=epsilon, annealing=annealing, tolerance=1e-3, max_iterations=500
    )
    a, b = marginals(cost, row_mask, column_mask, None, None)
    f, g = solved.row_potentials.double().unsqueeze(2), solved.column_potentials.double().unsqueeze(1)
    again = a.unsqueeze(2) * b.unsqueeze(1) * ((f + g - cost.double()) / epsilon).exp()
    torch.testing.assert_close(again.float(), solved.plan, atol=1e-5, rtol=2e-3)
    assert float(solved.row_potentials[~row_mask].abs().sum() + solved.column_potentials[~column_mask].abs().sum()) == 0.0


def test_the_exact_solver_keeps_the_dual_solution_and_a_greedy_plan_has_no_potentials():
    cost, row_mask, column_mask = problems(6, 8, 11, seed=4)
    a, b = marginals(cost, row_mask, column_mask, None, None)
    for solver, within in (("exact", 1e-5), ("ipot", 2e-2)):
        solved = solve_transport(cost, row_mask, column_mask, solver=solver)
        value = (a * solved.row_potentials).sum(1) + (b * solved.column_potentials).sum(1)
        torch.testing.assert_close(value, solved.cost, atol=within, rtol=within)
    assert not bool(solve_transport(cost, row_mask, column_mask, solver="greedy").row_potentials.any())


@pytest.mark.parametrize("solver", SOLVERS)
def test_settings_by_name_and_options_as_a_whole_are_the_same(solver):
    cost, row_mask, column_mask = problems(5, 8, 6, seed=5)
    settings = {"solver": solver, "epsilon": 0.1, "max_iterations": 60, "tolerance": 1e-3, "moved_share": 0.7}
    by_name = solve_transport(cost, row_mask, column_mask, **settings)
    whole = solve_transport(cost, row_mask, column_mask, TransportOptions(**settings))
    assert torch.equal(by_name.plan, whole.plan)
    with pytest.raises(TypeError, match="'marginals' is not a setting of a solver"):
        solve_transport(cost, marginals="idf")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("epsilon", [0.1, 0.005])
@given(shift=st.sampled_from([-500.0, -5.0, 5.0]), seed=st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_costs_far_from_zero_and_small_epsilons_give_numbers_in_single_precision(solver, epsilon, shift, seed):
    if solver == "unbalanced":
        shift /= 100  # the mass of its plan grows with exp(-cost): far below 0, no number holds it
    cost, row_mask, column_mask = problems(3, 6, 7, seed=seed)
    arguments = {"solver": solver, "epsilon": epsilon, "tolerance": 1e-3, "max_iterations": 200}
    single = solve_transport(cost + shift, row_mask, column_mask, **arguments)
    double = solve_transport((cost + shift).double(), row_mask, column_mask, **arguments)
    for solved in (single, double):
        assert bool(solved.plan.isfinite().all())
        assert bool(solved.marginal_error.isfinite().all())
    assert single.converged.tolist() == double.converged.tolist()


@pytest.mark.parametrize("solver", ["sinkhorn", "ipot", "exact", "greedy", "partial"])
@given(shift=st.sampled_from([-1000.0, -5.0, 5.0, 1000.0]), seed=st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_a_constant_changes_no_plan_of_a_given_mass(solver, shift, seed):
    cost, row_mask, column_mask = problems(3, 6, 7, seed=seed)
    plain, shifted = (
        solve_transport(
            cost.double() + added, row_mask, column_mask, solver=solver, epsilon=0.1, tolerance=1e-6, max_iterations=5000
        )
        for added in (0.0, shift)
    )
    assert bool(shifted.converged.all()) or solver == "greedy"
    torch.testing.assert_close(shifted.plan.sum((1, 2)), plain.plan.sum((1, 2)), atol=1e-5, rtol=0)
    torch.testing.assert_close((shifted.plan * cost).sum((1, 2)), (plain.plan * cost).sum((1, 2)), atol=1e-3, rtol=0)


def test_unbalanced_transport_with_a_small_epsilon_converges_in_single_precision_as_in_double():
    torch.manual_seed(0)
    unit = [torch.nn.functional.normalize(torch.randn(8, tokens, 384), dim=-1) for tokens in (10, 12)]
    arguments = {"solver": "unbalanced", "epsilon": 0.005, "tolerance": 1e-3, "max_iterations": 1000}
    single, double = (solve_transport(cosine_cost(*unit).to(dtype), **arguments) for dtype in (torch.float32, torch.float64))
    assert single.converged.tolist() == double.converged.tolist() == [True] * 8
    torch.testing.assert_close(single.plan, double.plan.float(), atol=1e-4, rtol=0)
