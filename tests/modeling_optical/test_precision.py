"""What `precision: auto` takes, and that encoding keeps to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeling_optical import load_checkpoint
from modeling_optical import precision as module
from modeling_optical.precision import autocast, choose_precision

ROOT = Path(__file__).resolve().parents[2]
BF16_CPU = {"architecture": "x86_64", "avx512_bf16": True, "avx512_f": True}


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch):
    """Sets what the processor is said to have, and the environment."""

    def become(capabilities: dict, machine: str = "x86_64", **environment: str) -> None:
        for name in (module.VARIABLE, "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(module.platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        module._fastest.cache_clear()

    yield become
    module._fastest.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "machine", "environment", "expected"),
    [
        (BF16_CPU, "x86_64", {}, "bf16"),
        (BF16_CPU, "AMD64", {}, "bf16"),  # as Windows calls it
        ({"amx_bf16": True}, "x86_64", {}, "bf16"),
        ({"avx2": True, "avx512_f": True, "avx512_vnni": True}, "x86_64", {}, "fp32"),
        ({"neon": True, "bf16": True}, "aarch64", {}, "bf16"),
        ({"neon": True, "bf16": False}, "arm64", {}, "fp32"),
        ({}, "riscv64", {}, "fp32"),
        (BF16_CPU, "x86_64", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "fp32"),
        (BF16_CPU, "x86_64", {"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"}, "fp32"),
        (BF16_CPU, "x86_64", {"DNNL_MAX_CPU_ISA": "AVX2"}, "fp32"),
        (BF16_CPU, "x86_64", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "bf16"),
        (BF16_CPU, "x86_64", {"ONEDNN_MAX_CPU_ISA": "ALL"}, "bf16"),
        (BF16_CPU, "x86_64", {module.VARIABLE: "fp32"}, "fp32"),
        ({}, "x86_64", {module.VARIABLE: "bf16"}, "bf16"),
    ],
)
def test_auto_is_bf16_where_the_processor_may_multiply_in_it(processor, capabilities, machine, environment, expected):
    processor(capabilities, machine, **environment)
    chosen = choose_precision("auto", "cpu")
    assert chosen.name == expected
    assert chosen.why


@pytest.mark.parametrize("named", ["bf16", "fp16", "fp32"])
def test_a_precision_that_is_named_is_taken(processor, named):
    processor({})
    assert choose_precision(named, "cpu").name == named


def test_a_wrong_name_is_an_error_that_lists_the_right_ones(processor, monkeypatch):
    with pytest.raises(ValueError, match="auto, bf16, fp16, fp32"):
        choose_precision("bfloat16", "cpu")
    processor({}, **{module.VARIABLE: "half"})
    with pytest.raises(ValueError, match=module.VARIABLE):
        choose_precision("auto", "cpu")


def test_a_process_that_may_not_use_avx512_computes_in_fp32():
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", module.VARIABLE: "auto", "PYTHONPATH": str(ROOT)}
    script = "from modeling_optical.precision import choose_precision; print(choose_precision('auto', 'cpu').name)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "fp32", done.stderr


@pytest.mark.parametrize(
    ("precision", "dtype", "tokens", "expected"),
    [
        ("bf16", torch.float32, 4096, torch.bfloat16),
        ("bf16", torch.float32, 8, torch.bfloat16),
        ("fp32", torch.float32, 4096, torch.float32),
        ("auto", torch.float32, 4096, torch.bfloat16),
        ("auto", torch.float32, 8, torch.float32),  # the weights' cast would cost more
        (None, torch.float32, 4096, torch.float32),
        ("fp32", torch.bfloat16, 4096, torch.bfloat16),  # weights in half precision stay so
    ],
)
def test_a_batch_is_computed_in_the_precision(processor, precision, dtype, tokens, expected):
    processor(BF16_CPU)
    weights = torch.ones(4, 4, dtype=dtype)
    with autocast(precision, torch.device("cpu"), dtype, tokens):
        assert (weights @ weights).dtype == expected


def test_encoding_in_bf16_stays_near_fp32_and_alike_for_every_way_to_ask(bert: str):
    model = load_checkpoint(bert)
    texts = ["the cat sat on the mat", "a good teacher", ""] * 20
    exact = model.encode_document(texts, convert_to_tensor=True)
    asked = model.encode_document(texts, convert_to_tensor=True, precision="bf16")
    model.precision = "bf16"
    kept = model.encode_document(texts, convert_to_tensor=True)
    named = model.encode_document(texts, convert_to_tensor=True, precision="fp32")
    for first, second, third, fourth in zip(exact, asked, kept, named, strict=True):
        assert torch.equal(first, fourth)
        assert torch.equal(second, third)
        assert second.dtype == torch.float32
        torch.testing.assert_close(second, first, atol=0.05, rtol=0)
    assert any(not torch.equal(one, other) for one, other in zip(exact, asked, strict=True))


def test_encoding_in_bf16_never_uses_weights_that_have_changed_since(bert: str):
    texts = ["the cat sat on the mat", "a good teacher"] * 40
    model, fresh = load_checkpoint(bert, precision="bf16"), load_checkpoint(bert, precision="bf16")
    before = model.encode_document(texts, batch_size=8, convert_to_tensor=True)
    for changed in (model, fresh):
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.mul_(0.8)
    after, expected = (m.encode_document(texts, batch_size=8, convert_to_tensor=True) for m in (model, fresh))
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(after, expected, strict=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # and training after it has its gradients
        model(**{k: v for k, v in model.processor(texts[:2]).items() if k != "content_mask"}).token_vectors.sum().backward()
    assert model.get_input_embeddings().weight.grad is not None
    assert all(p.grad is not None for name, p in model.named_parameters() if "pooler" not in name)
