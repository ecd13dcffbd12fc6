"""The fused kernel: under Triton's interpreter, compiled without a device, and on a device where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeling_optical import solve_transport

ROOT = Path(__file__).resolve().parents[2]

# Triton reads TRITON_INTERPRET when its functions are defined: a separate process.
INTERPRETED = """
import json, sys, torch
from modeling_optical import TransportOptions, solve_transport
from modeling_optical.transport_problems import marginals
from modeling_optical.transport_triton import solve_fused

batch, rows, columns, epsilon, max_iterations, tolerance, seed = json.loads(sys.argv[1])
torch.manual_seed(seed)
cost = torch.rand(batch, rows, columns) * 1.5
row_mask = torch.arange(rows) < torch.randint(1, rows + 1, (batch, 1))
column_mask = torch.rand(batch, columns) < 0.7
column_mask[:, 0] = True
row_mask[0] = False
cost[~(row_mask.unsqueeze(2) & column_mask.unsqueeze(1))] = float("nan")
a, b = marginals(cost, row_mask, column_mask, None, None)
fused = solve_fused(cost, a, b, TransportOptions(epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance))
plain = solve_transport(cost, row_mask, column_mask, epsilon=epsilon, max_iterations=max_iterations, tolerance=tolerance)
scores = (fused[5].unsqueeze(2) + fused[6].unsqueeze(1) - cost) / epsilon
made = torch.where((a.unsqueeze(2) > 0) & (b.unsqueeze(1) > 0), a.unsqueeze(2) * b.unsqueeze(1) * scores.exp(), 0)
print(json.dumps({
    "plan": float((fused[0] - plain.plan).abs().max()),
    "cost": float((fused[1] - plain.cost).abs().max()),
    "error": float((fused[2] - plain.marginal_error).abs().max()),
    "iterations": [fused[3].tolist(), plain.iterations.tolist()],
    "converged": fused[4].tolist(),
    "made of potentials": float((made - fused[0]).abs().max()),
}))
"""


@pytest.mark.parametrize(
    ("batch", "rows", "columns", "epsilon", "max_iterations", "tolerance"),
    [(4, 9, 20, 0.1, 500, 1e-4), (4, 13, 6, 0.02, 500, 1e-3), (3, 8, 8, 0.1, 7, 1e-6), (2, 160, 150, 0.1, 40, 1e-3)],
    ids=["wide", "small epsilon", "too few iterations", "streamed"],
)
def test_the_fused_kernel_equals_the_cpu(batch, rows, columns, epsilon, max_iterations, tolerance):
    pytest.importorskip("triton", reason="needs Triton: pip install triton")
    problem = json.dumps([batch, rows, columns, epsilon, max_iterations, tolerance, 0])
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED, problem],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    # At a tolerance of 1e-3 two plans that meet it may differ by as much.
    assert result["plan"] <= max(1e-4, tolerance)
    assert result["cost"] <= max(1e-4, tolerance)
    assert result["converged"][0] is True
    assert result["made of potentials"] <= 1e-5
    fused, plain = result["iterations"]
    assert fused[0] == plain[0] == 0
    if max_iterations == 7:
        assert fused == plain
        assert max(fused) == 7
        assert result["error"] <= 1e-4
        assert not all(result["converged"])
    else:
        assert all(result["converged"])


@pytest.mark.slow
@pytest.mark.parametrize(("resident", "rows", "columns"), [(True, 32, 64), (False, 16, 256)])
def test_the_fused_kernel_compiles_for_a_device_that_is_not_there(resident, rows, columns):
    triton = pytest.importorskip("triton", reason="needs Triton: pip install triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from modeling_optical import transport_triton

    numbers = ("stride_batch", "stride_row", "stride_column", "rows", "columns", "max_iterations")
    signature = dict.fromkeys(("cost", "a", "b", "plan", "value", "error_of", "f", "g"), "*fp32")
    signature |= {"iterations_of": "*i64", **dict.fromkeys(numbers, "i32"), **dict.fromkeys(("scale", "tolerance"), "fp32")}
    constants = {
        "RESIDENT": resident,
        "ROWS": rows,
        "COLUMNS": columns,
        "CHECK_EVERY": transport_triton.CHECK_EVERY,
        "EXTRAPOLATED_UNTIL": transport_triton.EXTRAPOLATED_UNTIL,
        "RIDGE": transport_triton.RIDGE,
        "LONGEST_STEP": transport_triton.LONGEST_STEP,
    }
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=transport_triton._sinkhorn.fn, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
    assert "cubin" in compiled.asm


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("rows", "columns"), [(17, 30), (64, 64), (200, 190), (300, 40)])
def test_a_device_gives_what_the_cpu_gives(rows, columns):
    pytest.importorskip("triton", reason="needs Triton: pip install triton")
    torch.manual_seed(0)
    cost = torch.rand(32, rows, columns)
    row_mask = torch.arange(rows) < torch.randint(1, rows + 1, (32, 1))
    column_mask = torch.arange(columns) < torch.randint(1, columns + 1, (32, 1))
    arguments = {"epsilon": 0.05, "tolerance": 1e-5}
    expected = solve_transport(cost, row_mask, column_mask, **arguments)
    solved = solve_transport(cost.cuda(), row_mask.cuda(), column_mask.cuda(), **arguments)
    torch.testing.assert_close(solved.plan.cpu(), expected.plan, atol=1e-4, rtol=0)
    torch.testing.assert_close(solved.cost.cpu(), expected.cost, atol=1e-4, rtol=0)
    assert bool(solved.converged.all())
