"""ONNX: one graph for queries and documents, run by onnxruntime or OpenVINO with this package's processor."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from transformers.utils import logging

from ..configuration_optical import OpticalConfig
from ..late_interaction import search
from ..modeling_optical import OpticalModel, OpticalModelOutput
from ..processing_optical import OpticalProcessor
from ..text_encoding import TextEncoder, evaluating

logger = logging.get_logger(__name__)

GRAPH, INT8_GRAPH = "model.onnx", "model_int8.onnx"
_INSTALL = 'pip install "modeling-optical[onnx]"'
TEXTS = (
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
    """Loss of quality by int8 weights, against the fp32 graph on the same texts.

    Attributes:
        texts: how many texts, each as a query and as a document.
        mean_cosine: mean cosine similarity of a token's two vectors.
        least_cosine: the least.
        greatest_distance: of a token's two vectors.
        first_kept: share of queries whose best document stays the best.
    """

    texts: int
    mean_cosine: float
    least_cosine: float
    greatest_distance: float
    first_kept: float

    def __str__(self) -> str:
        return (
            f"cosine of token vectors to fp32: mean {self.mean_cosine:.4f}, least {self.least_cosine:.4f}; best document kept "
            f"for {self.first_kept:.1%} of {self.texts} queries"
        )


class _TokenVectors(nn.Module):
    """The graph: ids and attention mask to unit vectors of all tokens and the pooled vector, where the model has one.

    Masks of scoring are the processor's.
    """

    def __init__(self, model: OpticalModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        everything = torch.ones_like(attention_mask, dtype=torch.bool)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_mask": everything}
        output = self.model(**inputs, weigh_tokens_by=(), return_dict=True)
        return output["token_vectors"] if output.pooled_vector is None else (output["token_vectors"], output.pooled_vector)


class GraphEncoder(TextEncoder, nn.Module):
    """Encodes with an exported graph, without PyTorch in the forward pass: `encode_query`, `encode_document`, `similarity` …

    Args:
        folder: as `optical export --format onnx` writes it.
        graph: the file in it.

    Raises:
        FileNotFoundError: if the graph is not there.
    """

    def __init__(self, folder: str | os.PathLike, graph: str = GRAPH):
        self.graph = Path(folder) / graph
        if not self.graph.is_file():
            raise FileNotFoundError(
                f"{self.graph} is missing: make it with `optical export MODEL --format onnx --output {folder}`."
            )
        super().__init__()
        self.config = OpticalConfig.from_pretrained(folder)
        self.processor = OpticalProcessor.from_pretrained(folder)
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def get_processor(self) -> OpticalProcessor:
        """Tokenizer and masks."""
        return self.processor

    def to(self, device: torch.device | str) -> Self:  # type: ignore[override]
        """As models have it; what runs the graph has chosen its device."""
        return self

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_mask: torch.Tensor, **_: Any
    ) -> OpticalModelOutput:
        """`token_vectors`, `token_mask` and, with a pooling, `pooled_vector`; arguments as for `OpticalModel`."""
        found = self._run({"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()})
        outputs: dict[str, Any] = {name: torch.from_numpy(vectors) for name, vectors in found.items()}
        return OpticalModelOutput(token_mask=token_mask, **outputs)

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The graph's outputs by name."""
        raise NotImplementedError


class OnnxEncoder(GraphEncoder):
    """A graph that onnxruntime runs.

    Args:
        folder: as `optical export --format onnx` writes it.
        quantized: the int8 graph instead of the fp32 one.

    Raises:
        FileNotFoundError: if the graph is not there. ImportError: without onnxruntime.

    Example:

    ```python
    >>> encoder = OnnxEncoder("student-onnx")
    >>> encoder.encode_query(["habari ya asubuhi"])[0].shape
    ```
    """

    def __init__(self, folder: str | os.PathLike, *, quantized: bool = False):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"onnxruntime is needed: {_INSTALL}") from error
        super().__init__(folder, INT8_GRAPH if quantized else GRAPH)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(str(self.graph), options, providers=providers)
        self._outputs_of_graph = [output.name for output in self._session.get_outputs()]

    def to(self, device: torch.device | str) -> Self:  # type: ignore[override]
        """As models have it; what runs the graph, onnxruntime has chosen."""
        if torch.device(device).type == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            logger.warning_once("the graph runs on the CPU: onnxruntime has no CUDA provider (pip install onnxruntime-gpu).")
        return self

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs_of_graph, self._session.run(None, inputs), strict=True))


class OpenVinoEncoder(GraphEncoder):
    """A graph that OpenVINO runs on the CPU, in bf16 where `precision` is that and the processor has it, else in fp32.

    Args:
        folder: as `optical export --format onnx` writes it.

    Raises:
        FileNotFoundError: if the graph is not there. ImportError: without openvino.
    """

    casts_weights = False

    def __init__(self, folder: str | os.PathLike):
        try:
            import openvino
        except ImportError as error:
            raise ImportError('openvino is needed: pip install "modeling-optical[openvino]"') from error
        super().__init__(folder)
        self._core = openvino.Core()
        self._model = self._core.read_model(str(self.graph))
        self._outputs_of_graph = [output.get_any_name() for output in self._model.outputs]
        self._compiled: dict[str, Any] = {}

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        found = self._compiled_for("bf16" if half else "f32")(inputs)
        # A copy: the next batch is written over what this one has given.
        return {name: np.array(found[number]) for number, name in enumerate(self._outputs_of_graph)}

    def _compiled_for(self, precision: str) -> Any:
        """The graph with the kernels of a precision, made when it is first needed."""
        if precision not in self._compiled:
            settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
            settings["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
            self._compiled[precision] = self._core.compile_model(self._model, "CPU", settings)
        return self._compiled[precision]


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
    batch = processor(list(TEXTS[:2]), kind="document")
    # Attention as plain operators: what exporters and runtimes agree on.
    attention = model.config._attn_implementation
    graph = _TokenVectors(model)
    model.set_attn_implementation("eager")
    try:
        with evaluating(graph):
            program = torch.onnx.export(
                graph,
                (batch["input_ids"], batch["attention_mask"]),
                input_names=["input_ids", "attention_mask"],
                output_names=["token_vectors", *(["pooled_vector"] if model.config.pooling_mode else [])],
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
    program.save(str(folder / GRAPH))
    onnx.checker.check_model(str(folder / GRAPH))
    encoder = OnnxEncoder(folder)
    for kind in ("query", "document"):
        exact = model.encode(TEXTS, kind, precision="fp32")
        for text, ours, theirs in zip(TEXTS, exact, encoder.encode(TEXTS, kind), strict=True):
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
    quantize_dynamic(folder / GRAPH, folder / INT8_GRAPH, weight_type=QuantType.QInt8, per_channel=True)
    texts = [text for text in (texts or TEXTS) if text.strip()]
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
        greatest_distance=float((2 - 2 * cosines.min()).clip(0) ** 0.5),
        first_kept=float((best[0] == best[1]).float().mean()),
    )
