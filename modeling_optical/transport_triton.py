"""Sinkhorn's algorithm on a GPU: one launch for a batch, every problem in a separate program that stops by itself."""

from __future__ import annotations

import torch

from .transport_options import TransportOptions
from .transport_sinkhorn import CHECK_EVERY, EXTRAPOLATED_UNTIL, LONGEST_STEP, RIDGE

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

MOST_TOKENS = 256
# Entries of the cost that a program holds in registers; beyond, it reads rows of the cost again at every iteration.
_RESIDENT_ENTRIES = 2**14
_STREAMED_ENTRIES = 2**12


def can_solve(cost: torch.Tensor) -> bool:
    """Whether Triton is installed and the problems, (batch, rows, columns), are of a size and a dtype for `solve_fused`."""
    small = max(cost.shape[1:]) <= MOST_TOKENS and cost.numel() > 0
    return triton is not None and small and cost.dtype != torch.float64


def solve_fused(
    cost: torch.Tensor, a: torch.Tensor, b: torch.Tensor, options: TransportOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solves a padded batch without waiting for the device.

    The iteration is that of the CPU, extrapolation included, with the kernel recomputed from the column potentials at every
    iteration (a softmax over each row), so that no exponent overflows whatever epsilon. Newton's method is left out.

    Args:
        cost: (batch, rows, columns), of any content where a row or a column has no mass.
        a: (batch, rows) float32, mass of each row: sums to 1, or to 0 where nothing counts.
        b: (batch, columns).

    Returns:
        The fields of a `TransportPlan`.
    """
    batch, rows, columns = cost.shape
    plan = torch.empty(cost.shape, dtype=torch.float32, device=cost.device)
    value, error = (torch.empty(batch, dtype=torch.float32, device=cost.device) for _ in range(2))
    iterations = torch.empty(batch, dtype=torch.int64, device=cost.device)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    block_columns = triton.next_power_of_2(columns)
    block_rows = triton.next_power_of_2(rows)
    resident = block_rows * block_columns <= _RESIDENT_ENTRIES
    if not resident:
        block_rows = max(1, _STREAMED_ENTRIES // block_columns)
    tolerance = max(options.tolerance, 8 * torch.finfo(torch.float32).eps)
    _sinkhorn[(batch,)](
        cost,
        a.contiguous(),
        b.contiguous(),
        plan,
        value,
        error,
        iterations,
        f,
        g,
        *cost.stride(),
        rows,
        columns,
        1 / options.epsilon,
        tolerance,
        options.max_iterations,
        RESIDENT=resident,
        ROWS=block_rows,
        COLUMNS=block_columns,
        CHECK_EVERY=CHECK_EVERY,
        EXTRAPOLATED_UNTIL=EXTRAPOLATED_UNTIL,
        RIDGE=RIDGE,
        LONGEST_STEP=LONGEST_STEP,
    )
    return plan, value, error, iterations, error <= tolerance, f * options.epsilon, g * options.epsilon


if triton is not None:
    # The interpreter has no device to measure on.
    _WARPS = [triton.Config({}, num_warps=warps) for warps in ((4,) if triton.knobs.runtime.interpret else (1, 2, 4, 8, 16))]

    @triton.jit
    def _load_rows(
        cost, a, first, rows, columns, stride_row, stride_column, scale, b, ROWS: tl.constexpr, COLUMNS: tl.constexpr
    ):
        """Mass and exponents of some rows of a problem; 0 where no mass may move, even over NaN."""
        i = first + tl.arange(0, ROWS)
        j = tl.arange(0, COLUMNS)
        mass = tl.load(a + i, mask=i < rows, other=0.0)
        inside = (mass > 0)[:, None] & (b > 0)[None, :]
        places = cost + i.to(tl.int64)[:, None] * stride_row + j.to(tl.int64)[None, :] * stride_column
        return mass, tl.load(places, mask=inside, other=0.0).to(tl.float32) * scale

    @triton.jit
    def _rows_of_plan(exponent, h, mass):
        """Rows of the plan with the column potentials h, scaled to their mass."""
        scores = h[None, :] - exponent
        kernel = tl.exp(scores - tl.max(scores, 1)[:, None])
        return kernel * (mass / tl.sum(kernel, 1))[:, None]

    @triton.jit
    def _iteration(
        exponent, mass, h, b, cost, a, rows, columns, stride_row, stride_column, scale,
        RESIDENT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        """Column error of the plan with potentials h, and the potentials after meeting the column marginal."""
        if RESIDENT:
            sums = tl.sum(_rows_of_plan(exponent, h, mass), 0)
        else:
            sums = tl.zeros([COLUMNS], tl.float32)
            for first in range(0, rows, ROWS):
                mass, exponent = _load_rows(cost, a, first, rows, columns, stride_row, stride_column, scale, b, ROWS, COLUMNS)
                sums += tl.sum(_rows_of_plan(exponent, h, mass), 0)
        error = tl.sum(tl.abs(sums - b), 0)
        counted = b > 0
        update = tl.log(tl.where(counted, b, 1.0)) - tl.log(tl.where(counted, tl.maximum(sums, 1e-37), 1.0))
        return error, h + update

    @triton.jit
    def _extrapolation(r1, r2, r3, r4, b, RIDGE: tl.constexpr, LONGEST_STEP: tl.constexpr):
        """Step of Anderson's acceleration from the last four changes of the potentials (see the CPU's `_extrapolation`)."""
        d1, d2, d3 = r2 - r1, r3 - r2, r4 - r3
        m11, m22, m33 = tl.sum(b * d1 * d1, 0), tl.sum(b * d2 * d2, 0), tl.sum(b * d3 * d3, 0)
        m12, m13, m23 = tl.sum(b * d1 * d2, 0), tl.sum(b * d1 * d3, 0), tl.sum(b * d2 * d3, 0)
        y1, y2, y3 = tl.sum(b * d1 * r4, 0), tl.sum(b * d2 * r4, 0), tl.sum(b * d3 * r4, 0)
        trace = m11 + m22 + m33
        # Scaled to a trace of 1, so that nothing underflows; then Cholesky's factorisation.
        unit = tl.where(trace > 0, 1 / tl.maximum(trace, 1e-37), 0.0)
        m11, m22, m33 = m11 * unit + RIDGE, m22 * unit + RIDGE, m33 * unit + RIDGE
        m12, m13, m23 = m12 * unit, m13 * unit, m23 * unit
        y1, y2, y3 = y1 * unit, y2 * unit, y3 * unit
        l21, l31 = m12 / m11, m13 / m11
        p2 = tl.maximum(m22 - l21 * m12, RIDGE * 0.5)
        q23 = m23 - l21 * m13
        l32 = q23 / p2
        p3 = tl.maximum(m33 - l31 * m13 - l32 * q23, RIDGE * 0.5)
        z2 = y2 - l21 * y1
        c3 = (y3 - l31 * y1 - l32 * z2) / p3
        c2 = (z2 - q23 * c3) / p2
        c1 = (y1 - m12 * c2 - m13 * c3) / m11
        step = -(c1 * r2 + c2 * r3 + c3 * r4)
        return step * (LONGEST_STEP / tl.maximum(tl.max(tl.abs(step), 0), LONGEST_STEP))

    @triton.autotune(configs=_WARPS, key=["RESIDENT", "ROWS", "COLUMNS"])
    @triton.jit
    def _sinkhorn(
        cost, a, b, plan, value, error_of, iterations_of, f, g,
        stride_batch, stride_row, stride_column, rows, columns, scale, tolerance, max_iterations,
        RESIDENT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
        CHECK_EVERY: tl.constexpr, EXTRAPOLATED_UNTIL: tl.constexpr, RIDGE: tl.constexpr, LONGEST_STEP: tl.constexpr,
    ):  # fmt: skip
        problem = tl.program_id(0).to(tl.int64)
        cost += problem * stride_batch
        a += problem * rows
        f += problem * rows
        plan += problem * rows * columns
        j = tl.arange(0, COLUMNS)
        b = tl.load(b + problem * columns + j, mask=j < columns, other=0.0)
        mass, exponent = _load_rows(cost, a, 0, rows, columns, stride_row, stride_column, scale, b, ROWS, COLUMNS)
        h = tl.where(b > 0, 0.0, float("-inf"))
        solution = h
        counted = b > 0
        zero = tl.zeros([COLUMNS], tl.float32)
        r1, r2, r3, r4 = zero, zero, zero, zero
        iteration = 0
        error = float("inf")
        last_error = float("inf")
        running = tl.sum(b, 0) > 0
        while running:
            error, met = _iteration(
                exponent, mass, h, b, cost, a, rows, columns, stride_row, stride_column, scale, RESIDENT, ROWS, COLUMNS
            )
            iteration += 1
            solution = h
            r1, r2, r3 = r2, r3, r4
            r4 = tl.where(counted, met - h, 0.0)
            h = met
            if iteration % CHECK_EVERY == 0:
                running = (error > tolerance) & (iteration < max_iterations)
                if (error < last_error) & (iteration < EXTRAPOLATED_UNTIL):
                    h += _extrapolation(r1, r2, r3, r4, b, RIDGE, LONGEST_STEP)
                last_error = error
            else:
                running = iteration < max_iterations
        tl.store(g + problem * columns + j, solution - tl.log(tl.where(counted, b, 1.0)), mask=(j < columns) & counted)
        moved_cost = 0.0
        row_error = 0.0
        sums = tl.zeros([COLUMNS], tl.float32)
        for first in range(0, rows, ROWS):
            mass, exponent = _load_rows(cost, a, first, rows, columns, stride_row, stride_column, scale, b, ROWS, COLUMNS)
            inside = (mass > 0)[:, None] & (b > 0)[None, :]
            moved = tl.where(inside, _rows_of_plan(exponent, solution, mass), 0.0)
            i = first + tl.arange(0, ROWS)
            places = plan + i.to(tl.int64)[:, None] * columns + j[None, :]
            scores = solution[None, :] - exponent
            top = tl.max(scores, 1)
            row_potentials = -top - tl.log(tl.sum(tl.exp(scores - top[:, None]), 1))
            tl.store(f + i, row_potentials, mask=(i < rows) & (mass > 0))
            tl.store(places, moved, mask=(i < rows)[:, None] & (j < columns)[None, :])
            moved_cost += tl.sum(tl.sum(moved * exponent, 1), 0)
            row_error += tl.sum(tl.abs(tl.sum(moved, 1) - mass), 0)
            sums += tl.sum(moved, 0)
        tl.store(value + problem, moved_cost / scale)
        tl.store(error_of + problem, tl.maximum(row_error, tl.sum(tl.abs(sums - b), 0)))
        tl.store(iterations_of + problem, iteration)
