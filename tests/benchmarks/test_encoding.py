"""The figures on the page about speed are those of the stored measurement."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = json.loads((ROOT / "benchmarks" / "encoding.json").read_text())
PAGE = (ROOT / "docs" / "speed.md").read_text()
ROWS = {"PyTorch bf16": "ours, torch bf16", "ONNX fp32": "ours, onnx", "ONNX int8": "ours, onnx-int8"}


@pytest.mark.parametrize("shown", ROWS)
def test_quality_on_the_page_is_as_measured(shown):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {shown} |")]
    found = STORED["quality"][ROWS[shown]]
    distance = max(collection["greatest distance"] for collection in found.values())
    expected = [f"{distance:.3f}", *(f"{found[name]['RR@10']:.4f}" for name in ("xquad", "flores200"))]
    assert [cell.strip() for cell in line.split("|")[2:5]] == expected


def test_bf16_stays_within_the_tolerance():
    exact, half = (STORED["quality"][name] for name in ("ours, torch fp32", "ours, torch bf16"))
    assert all(abs(exact[name]["RR@10"] - half[name]["RR@10"]) <= 0.002 for name in exact)
    assert STORED["speed"]["ours, torch fp32"]["documents"] > 1.8 * STORED["speed"]["ours, torch bf16"]["documents"]
