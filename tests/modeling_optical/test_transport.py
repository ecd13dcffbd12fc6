"""Transport against POT, against a converged float64 solution, and against itself under every change that must not matter."""

import math

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_optical import TransportOptions, cosine_cost, position_cost, solve_transport, transport_cost, transport_loss


def unit(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, dtype=dtype), dim=-1)


def ragged(batch: int, rows: int, columns: int, dim: int = 8, seed: int = 0):
    torch.manual_seed(seed)
    row_mask = torch.arange(rows) < torch.randint(1, rows + 1, (batch, 1))
    column_mask = torch.arange(columns) < torch.randint(1, columns + 1, (batch, 1))
    return unit(batch, rows, dim), unit(batch, columns, dim), row_mask, column_mask


def log_domain_reference(cost: torch.Tensor, epsilon: float, iterations: int = 20000) -> torch.Tensor:
    """An independent float64 solution of one dense problem with uniform marginals."""
    cost = cost.double()
    n, m = cost.shape
    f, g = torch.zeros(n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
    for _ in range(iterations):
        f_new = -epsilon * torch.logsumexp((g[None] - cost) / epsilon - math.log(m), 1)
        g = -epsilon * torch.logsumexp((f_new[:, None] - cost) / epsilon - math.log(n), 0)
        if (f_new - f).abs().max() < 1e-14:
            f = f_new
            break
        f = f_new
    return ((f[:, None] + g[None] - cost) / epsilon).exp() / (n * m)


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.05, 0.02])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plan_and_value_equal_a_converged_float64_solution(epsilon, dtype):
    student, teacher, row_mask, column_mask = ragged(6, 7, 9)
    cost = cosine_cost(student, teacher)
    solved = solve_transport(cost.to(dtype), row_mask, column_mask, epsilon=epsilon, tolerance=1e-6, max_iterations=50000)
    for index in range(6):
        n, m = int(row_mask[index].sum()), int(column_mask[index].sum())
        reference = log_domain_reference(cost[index, :n, :m], epsilon)
        torch.testing.assert_close(solved.plan[index, :n, :m].double(), reference, atol=1e-4, rtol=0)
        value = float((reference * cost[index, :n, :m]).sum())
        assert float(solved.cost[index]) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("epsilon", [0.1, 0.02, 0.004])
def test_entropic_cost_is_within_epsilon_log_min_of_the_exact_one(epsilon):
    student, teacher, row_mask, column_mask = ragged(8, 6, 11, seed=1)
    cost = cosine_cost(student, teacher)
    solved = solve_transport(cost, row_mask, column_mask, epsilon=epsilon, tolerance=1e-5, max_iterations=20000)
    for index in range(8):
        n, m = int(row_mask[index].sum()), int(column_mask[index].sum())
        exact = ot.emd2([1 / n] * n, [1 / m] * m, cost[index, :n, :m].double().numpy())
        assert -1e-5 <= float(solved.cost[index]) - exact <= epsilon * math.log(min(n, m)) + 1e-5


def test_exact_solver_equals_pot_and_meets_the_marginals():
    student, teacher, row_mask, column_mask = ragged(8, 12, 9, seed=2)
    cost = cosine_cost(student, teacher)
    weights = torch.rand(8, 12) + 0.1
    solved = solve_transport(cost, row_mask, column_mask, row_weights=weights, solver="exact")
    assert bool(solved.converged.all())
    for index in range(8):
        n, m = int(row_mask[index].sum()), int(column_mask[index].sum())
        a = weights[index, :n].double() / weights[index, :n].double().sum()
        exact = ot.emd2(a.numpy(), [1 / m] * m, cost[index, :n, :m].double().numpy())
        assert float(solved.cost[index]) == pytest.approx(exact, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("epsilon", [0.05, 0.01])
def test_marginals_are_met_to_the_tolerance_and_the_error_is_the_true_one(tolerance, epsilon):
    student, teacher, row_mask, column_mask = ragged(16, 10, 10, seed=3)
    solved = solve_transport(
        cosine_cost(student, teacher), row_mask, column_mask, epsilon=epsilon, tolerance=tolerance, max_iterations=50000
    )
    assert bool(solved.converged.all())
    a = row_mask / row_mask.sum(1, keepdim=True)
    b = column_mask / column_mask.sum(1, keepdim=True)
    error = torch.maximum((solved.plan.sum(2) - a).abs().sum(1), (solved.plan.sum(1) - b).abs().sum(1))
    torch.testing.assert_close(solved.marginal_error, error, atol=1e-6, rtol=0)
    assert float(error.max()) <= tolerance * 1.01 + 1e-6


def test_too_few_iterations_are_reported_as_not_converged():
    student, teacher, row_mask, column_mask = ragged(8, 12, 12, seed=4)
    row_mask[:] = column_mask[:] = True
    solved = solve_transport(
        cosine_cost(student, teacher), row_mask, column_mask, epsilon=0.01, tolerance=1e-6, max_iterations=3
    )
    assert not bool(solved.converged.any())
    assert solved.iterations.tolist() == [3] * 8
    assert float(solved.marginal_error.min()) > 1e-6


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    epsilon=st.sampled_from([0.3, 0.05, 0.01]),
    padding=st.integers(0, 5),
)
def test_padding_of_any_content_changes_nothing(rows, columns, seed, epsilon, padding):
    torch.manual_seed(seed)
    cost = torch.rand(1, rows, columns) * 2
    alone = solve_transport(cost, epsilon=epsilon)
    padded = torch.full((1, rows + padding, columns + padding), float("nan"))
    padded[:, :rows, :columns] = cost
    row_mask = torch.arange(rows + padding)[None] < rows
    column_mask = torch.arange(columns + padding)[None] < columns
    solved = solve_transport(padded, row_mask, column_mask, epsilon=epsilon)
    torch.testing.assert_close(solved.plan[:, :rows, :columns], alone.plan, atol=1e-6, rtol=1e-4)
    assert float(solved.plan[:, rows:].abs().sum() + solved.plan[:, :, columns:].abs().sum()) == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), solver=st.sampled_from(["sinkhorn", "exact"]))
def test_permuted_tokens_give_the_permuted_plan(seed, solver):
    torch.manual_seed(seed)
    cost = torch.rand(2, 6, 7)
    rows, columns = torch.randperm(6), torch.randperm(7)
    plain = solve_transport(cost, solver=solver, epsilon=0.1, tolerance=1e-6)
    permuted = solve_transport(cost[:, rows][:, :, columns], solver=solver, epsilon=0.1, tolerance=1e-6)
    torch.testing.assert_close(permuted.cost, plain.cost, atol=1e-5, rtol=0)
    if solver == "sinkhorn":
        torch.testing.assert_close(permuted.plan, plain.plan[:, rows][:, :, columns], atol=1e-5, rtol=0)


def test_transposed_problems_have_transposed_plans():
    student, teacher, row_mask, column_mask = ragged(5, 6, 8, seed=5)
    cost = cosine_cost(student, teacher)
    arguments = {"tolerance": 1e-6, "max_iterations": 50000}
    plain = solve_transport(cost, row_mask, column_mask, **arguments)
    turned = solve_transport(cost.transpose(1, 2), column_mask, row_mask, **arguments)
    torch.testing.assert_close(turned.plan.transpose(1, 2), plain.plan, atol=1e-5, rtol=0)


@pytest.mark.parametrize("epsilon", [0.05, 0.005])
def test_a_batch_equals_its_items_one_by_one(epsilon):
    student, teacher, row_mask, column_mask = ragged(9, 12, 8, seed=6)
    cost = cosine_cost(student, teacher)
    together = solve_transport(cost, row_mask, column_mask, epsilon=epsilon)
    for index in range(9):
        part = slice(index, index + 1)
        alone = solve_transport(cost[part], row_mask[part], column_mask[part], epsilon=epsilon)
        torch.testing.assert_close(together.plan[part], alone.plan, atol=1e-6, rtol=1e-4)
        assert together.iterations[index] == alone.iterations[0]


@pytest.mark.parametrize("solver", ["sinkhorn", "exact"])
def test_empty_problems_cost_nothing_and_have_no_gradient(solver):
    student, teacher, row_mask, column_mask = ragged(4, 5, 6, seed=7)
    row_mask[1], column_mask[2] = False, False
    student.requires_grad_()
    loss, plan = transport_loss(student, teacher, row_mask, column_mask, options=TransportOptions(solver=solver))
    loss.backward()
    assert plan.cost[[1, 2]].tolist() == [0.0, 0.0]
    assert bool(plan.converged[[1, 2]].all())
    assert float(student.grad[[1, 2]].abs().sum()) == 0.0
    assert bool(torch.isfinite(student.grad).all())
    assert float(student.grad[0].abs().sum()) > 0


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("solver", ["sinkhorn", "exact"])
def test_batches_and_sides_of_size_zero_are_solved_as_empty(shape, solver):
    solved = solve_transport(torch.zeros(shape), solver=solver)
    assert solved.plan.shape == shape
    assert solved.cost.tolist() == [0.0] * shape[0]
    assert bool(solved.converged.all())


def test_nan_in_padding_reaches_neither_loss_nor_gradient():
    student, teacher, row_mask, column_mask = ragged(4, 5, 6, seed=8)
    clean = student.clone().requires_grad_()
    loss, _ = transport_loss(clean, teacher, row_mask, column_mask)
    loss.backward()
    student[~row_mask], teacher[~column_mask] = float("nan"), float("nan")
    dirty = student.clone().requires_grad_()
    dirty_loss, _ = transport_loss(dirty, teacher, row_mask, column_mask)
    dirty_loss.backward()
    assert float(dirty_loss) == float(loss)
    torch.testing.assert_close(dirty.grad, clean.grad)


@pytest.mark.parametrize(
    "cost",
    [
        torch.zeros(2, 4, 5),
        torch.full((2, 4, 5), 1e-42),
        torch.full((2, 4, 5), 2.0),
        torch.rand(2, 4, 5) * 1e6,
        torch.rand(2, 1, 7),
        torch.rand(2, 7, 1),
        -torch.rand(2, 4, 5),
    ],
    ids=["zero", "denormal", "constant", "huge", "one row", "one column", "negative"],
)
@pytest.mark.parametrize("solver", ["sinkhorn", "exact"])
def test_degenerate_costs_give_finite_plans_with_the_right_mass(cost, solver):
    solved = solve_transport(cost, solver=solver, max_iterations=200)
    assert bool(torch.isfinite(solved.plan).all())
    torch.testing.assert_close(solved.plan.sum((1, 2)), torch.ones(2), atol=1e-4, rtol=0)
    assert float(solved.plan.min()) >= 0


def test_small_epsilon_stays_finite_in_single_precision():
    student, teacher, row_mask, column_mask = ragged(4, 20, 20, seed=9)
    cost = cosine_cost(student, teacher)
    solved = solve_transport(cost, row_mask, column_mask, epsilon=0.001, max_iterations=3000)
    exact = solve_transport(cost, row_mask, column_mask, solver="exact")
    assert bool(torch.isfinite(solved.plan).all())
    torch.testing.assert_close(solved.cost, exact.cost, atol=0.02, rtol=0)


def test_weights_are_the_marginals_and_zero_weights_take_no_mass():
    cost = torch.rand(2, 4, 3)
    weights = torch.tensor([[1.0, 0.0, 2.0, 1.0], [1e30, 1e30, 0.0, 2e30]])
    solved = solve_transport(cost, row_weights=weights, tolerance=1e-6, epsilon=0.1)
    expected = torch.tensor([[0.25, 0.0, 0.5, 0.25], [0.25, 0.25, 0.0, 0.5]])
    torch.testing.assert_close(solved.plan.sum(2), expected, atol=1e-5, rtol=0)


def test_gradcheck_of_the_regularised_value():
    torch.manual_seed(0)
    cost = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    row_mask = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])
    arguments = {"epsilon": 0.2, "tolerance": 1e-14, "max_iterations": 100_000}
    assert torch.autograd.gradcheck(lambda c: transport_cost(c, row_mask, regularized=True, **arguments)[0], (cost,))


def test_gradient_of_the_cost_is_the_plan():
    cost = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    values, plan = transport_cost(cost, epsilon=0.1)
    values.sum().backward()
    torch.testing.assert_close(cost.grad, plan.plan)
    plan_fixed = plan.plan

    def at_fixed_plan(c: torch.Tensor) -> torch.Tensor:
        return (plan_fixed * c).sum((1, 2))

    assert torch.autograd.gradcheck(at_fixed_plan, (cost,))
    torch.testing.assert_close(values.detach(), at_fixed_plan(cost).detach())


def test_memory_of_the_gradient_does_not_grow_with_iterations():
    cost = torch.rand(2, 6, 6, requires_grad=True)
    saved = []
    for iterations in (5, 500):
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            transport_cost(cost, max_iterations=iterations, tolerance=0.0, epsilon=0.02)
        saved.append(sum(sizes))
    assert saved[0] == saved[1] == cost.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_solved_in_single_precision(dtype):
    student, teacher, row_mask, column_mask = ragged(4, 6, 7, seed=10)
    student, teacher = student.to(dtype), teacher.to(dtype)
    cost = cosine_cost(student, teacher)
    assert cost.dtype == torch.float32
    loss, plan = transport_loss(student.requires_grad_(), teacher, row_mask, column_mask)
    assert plan.plan.dtype == torch.float32
    loss.backward()
    assert student.grad.dtype == dtype
    torch.testing.assert_close(cost, cosine_cost(student.float(), teacher.float()))


def test_position_prior_moves_the_plan_but_is_not_in_the_loss():
    torch.manual_seed(1)
    student = unit(1, 6, 4)
    teacher = student.clone()[:, torch.randperm(6)]
    mask = torch.ones(1, 6, dtype=torch.bool)
    plain, without = transport_loss(student, teacher, mask, mask, options=TransportOptions(epsilon=0.02))
    prior, with_prior = transport_loss(
        student, teacher, mask, mask, options=TransportOptions(epsilon=0.02, position_prior=50.0)
    )
    assert float(plain) < 0.05
    assert torch.argmax(with_prior.plan[0], 1).tolist() == list(range(6))
    expected = float((with_prior.plan * cosine_cost(student, teacher)).sum())
    assert float(prior) == pytest.approx(expected, abs=1e-5)
    assert torch.argmax(without.plan[0], 1).tolist() != list(range(6))


def test_positions_are_relative_to_the_unmasked_length():
    mask = torch.tensor([[True, True, False, False]])
    both = torch.tensor([[True, True, True, True]])
    expected = torch.tensor([[0.0, 0.0625, 0.25, 0.5625], [0.25, 0.0625, 0.0, 0.0625]])
    torch.testing.assert_close(position_cost(mask, both)[0, :2], expected)


def test_wrong_input_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="student has 4, the teacher 5"):
        cosine_cost(torch.rand(1, 2, 4), torch.rand(1, 2, 5))
    with pytest.raises(ValueError, match="batch sizes differ"):
        cosine_cost(torch.rand(1, 2, 4), torch.rand(2, 2, 4))
    with pytest.raises(ValueError, match="row_mask has shape"):
        solve_transport(torch.rand(1, 2, 3), torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="solver is 'simplex'"):
        solve_transport(torch.rand(1, 2, 3), solver="simplex")
    with pytest.raises(ValueError, match="epsilon is 0"):
        solve_transport(torch.rand(1, 2, 3), epsilon=0)
    with pytest.raises(ValueError, match="not negative"):
        solve_transport(torch.rand(1, 2, 3), row_weights=-torch.ones(1, 2))
    with pytest.raises(ValueError, match="problem 1 is not finite"):
        solve_transport(torch.stack([torch.zeros(2, 2), torch.full((2, 2), float("inf"))]))
    with pytest.raises(ValueError, match="unknown transport option 'eps'"):
        TransportOptions.of({"eps": 0.1})
