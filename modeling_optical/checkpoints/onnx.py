"""ONNX: one graph for queries and documents, run by onnxruntime with this package's processor."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..configuration_optical import OpticalConfig
from ..late_interaction import search
from ..modeling_optical import OpticalModel
from ..processing_optical import OpticalProcessor

_INSTALL = 'pip install "modeling-optical[onnx]"'
_TEXTS = (
    "search works in English and fails in Somali",
    "paka alikaa kwenye mkeka, na mbwa akabweka!",
    "«Да, да»",
    "مرحبا بالعالم",
    "अंग्रेज़ी में खोज काम करती है",
    "搜索引擎",
    "😀",
    "",
)


@dataclass
class QuantizationLoss:
    """What int8 weights cost, against the fp32 graph on the same texts.

    Attributes:
        texts: how many texts, each as a query and as a document.
        mean_cosine: mean cosine similarity of a token's two vectors.
        least_cosine: the least.
        first_kept: share of queries whose best document stays the best.
    """

    texts: int
    mean_cosine: float
    least_cosine: float
    first_kept: float

    def __str__(self) -> str:
        return (
            f"cosine of token vectors to fp32: mean {self.mean_cosine:.4f}, least {self.least_cosine:.4f}; best document kept "
            f"for {self.first_kept:.1%} of {self.texts} queries"
        )


class _TokenVectors(nn.Module):
    """The graph: ids and attention mask to unit vectors of all tokens. Masks of scoring are the processor's."""

    def __init__(self, model: OpticalModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        everything = torch.ones_like(attention_mask, dtype=torch.bool)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_mask": everything}
        return self.model(**inputs, weigh_tokens_by=(), return_dict=True)["token_vectors"]


class OnnxEncoder:
    """Encodes with an exported graph, in query or document mode, without PyTorch in the forward pass.

    Args:
        folder: as `optical export --format onnx` writes it.
        quantized: the int8 graph in place of the fp32 one.

    Raises:
        FileNotFoundError: if the graph is not there. ImportError: without onnxruntime.

    Example:

    ```python
    >>> encoder = OnnxEncoder("student-onnx")
    >>> encoder.encode(["habari ya asubuhi"], "query")[0].shape
    ```
    """

    def __init__(self, folder: str | os.PathLike, *, quantized: bool = False):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"onnxruntime is needed: {_INSTALL}") from error
        graph = Path(folder) / ("model_int8.onnx" if quantized else "model.onnx")
        if not graph.is_file():
            raise FileNotFoundError(f"{graph} is missing: make it with `optical export MODEL --format onnx --output {folder}`.")
        self.processor = OpticalProcessor.from_pretrained(folder)
        self._session = onnxruntime.InferenceSession(str(graph), providers=onnxruntime.get_available_providers())

    def encode(self, inputs: str | Iterable[str], kind: str = "query", *, batch_size: int = 32) -> Any:
        """One float32 array (scoring tokens, dim) for a string, a list of them for many texts, as `OpticalModel.encode`."""
        features = self.processor.tokenize(inputs, kind)
        order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
        results: list[Any] = [None] * len(features)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = self.processor.pad([features[i] for i in chosen])
            (vectors,) = self._session.run(None, {name: batch[name].numpy() for name in ("input_ids", "attention_mask")})
            for row, index in enumerate(chosen):
                results[index] = vectors[row][batch["token_mask"][row].numpy()]
        return results[0] if isinstance(inputs, str) else results


def write(model: OpticalModel, folder: Path, *, tolerance: float = 1e-4) -> None:
    """Writes `model.onnx` (fp32, any batch and length), the tokenizer and the settings, and checks the graph in onnxruntime.

    Args:
        model: the model, with its processor. Weights in half precision are written in fp32, with the values that they have:
            runtimes lack many operators in fp16 and bf16.
        folder: where to.
        tolerance: largest difference of a vector's entry between PyTorch and onnxruntime.

    Raises:
        ImportError: without onnx, onnxscript and onnxruntime. RuntimeError: if the graph gives other vectors.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the ONNX export needs onnx, onnxscript and onnxruntime: {_INSTALL}") from error
    if {parameter.dtype for parameter in model.parameters()} != {torch.float32}:
        model = copy.deepcopy(model).float()
    folder.mkdir(parents=True, exist_ok=True)
    processor = model.get_processor()
    config = OpticalConfig.from_dict(model.config.to_dict())
    config._auto_class = None  # the code that reads it is installed, and does not travel with a graph
    config.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    batch = processor(list(_TEXTS[:2]), kind="document")
    # Attention as plain operators: what exporters and runtimes agree on.
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        program = torch.onnx.export(
            _TokenVectors(model).eval(),
            (batch["input_ids"], batch["attention_mask"]),
            input_names=["input_ids", "attention_mask"],
            output_names=["token_vectors"],
            dynamic_shapes={
                "input_ids": {0: "batch", 1: "tokens"},
                "attention_mask": {0: "batch", 1: "tokens"},
            },
            dynamo=True,
            verbose=False,
        )
    finally:
        model.set_attn_implementation(attention)
    assert program is not None
    program.save(str(folder / "model.onnx"))
    onnx.checker.check_model(str(folder / "model.onnx"))
    encoder = OnnxEncoder(folder)
    for kind in ("query", "document"):
        for text, ours, theirs in zip(_TEXTS, model.encode(_TEXTS, kind), encoder.encode(_TEXTS, kind), strict=True):
            worst = float(np.abs(ours - theirs).max(initial=0.0))
            if ours.shape != theirs.shape or worst > tolerance:
                raise RuntimeError(
                    f"the exported graph gives other vectors for the {kind} {text!r} (largest difference {worst:.2g}): "
                    "this backbone cannot be exported with these versions of torch and onnx."
                )


def quantize(folder: Path, texts: Sequence[str] | None = None) -> QuantizationLoss:
    """Writes `model_int8.onnx` (dynamic quantization of the weights) and measures what it costs.

    Args:
        folder: with `model.onnx`.
        texts: what to measure on; a few sentences in several scripts if None.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # A scale per channel: with one per matrix the vectors lose several times as much.
    quantize_dynamic(folder / "model.onnx", folder / "model_int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    texts = [text for text in (texts or _TEXTS) if text.strip()]
    exact, small = OnnxEncoder(folder), OnnxEncoder(folder, quantized=True)
    found = {
        (kind, e): encoder.encode(texts, kind) for e, encoder in enumerate((exact, small)) for kind in ("query", "document")
    }
    cosines = np.concatenate(
        [
            (one * other).sum(1)
            for kind in ("query", "document")
            for one, other in zip(found[kind, 0], found[kind, 1], strict=True)
        ]
    )
    best = [search(found["query", e], found["document", e], k=1)[0][:, 0] for e in (0, 1)]
    return QuantizationLoss(
        texts=len(texts),
        mean_cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        first_kept=float((best[0] == best[1]).float().mean()),
    )
