"""A teacher with shorter token vectors: their principal components, without training."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from modeling_optical import OpticalConfig, OpticalModel
from modeling_optical.dense_layers import DenseLayer
from modeling_optical.encoding.batching import batched
from modeling_optical.files.atomic_write import replacing_folder, write_text

RECORD_FILE = "projection.json"
KINDS = ("query", "document")
_TEXTS_AT_A_TIME = 1024


@dataclass
class TeacherProjection:
    """Principal directions of a model's token vectors.

    Attributes:
        components: (dim, size) float64, orthonormal rows, the strongest first.
        spectrum: (size,) float64, the share of the vectors' squared length that lies along each direction, falling; sums to 1.
        texts: how many were encoded.
        tokens: how many vectors were counted, over all kinds.
    """

    components: torch.Tensor
    spectrum: torch.Tensor
    texts: int
    tokens: int

    @property
    def dim(self) -> int:
        """Size of the projected vectors."""
        return self.components.shape[0]

    def explained(self, dim: int | None = None) -> float:
        """Share of the vectors' squared length that `dim` dimensions keep (default: those of the projection)."""
        return float(self.spectrum[: self.dim if dim is None else dim].sum())


class SecondMoment:
    """Sum of `v v^T` over token vectors, in float64: what the principal directions need, whatever the number of texts.

    Args:
        size: of a vector.
    """

    def __init__(self, size: int):
        self.sum = torch.zeros(size, size, dtype=torch.float64)
        self.tokens = 0

    def add(self, vectors: torch.Tensor) -> None:
        """Takes in vectors (tokens, size)."""
        vectors = vectors.double()
        self.sum.addmm_(vectors.T, vectors)
        self.tokens += vectors.shape[0]

    @property
    def mean(self) -> torch.Tensor:
        """(size, size), the mean of `v v^T`."""
        return self.sum / max(self.tokens, 1)


def fit_projection(
    model: OpticalModel,
    texts: Iterable[str],
    dim: int = 128,
    *,
    kinds: Iterable[str] = KINDS,
    batch_size: int = 32,
    show_progress_bar: bool = True,
) -> TeacherProjection:
    """Principal directions of the token vectors that a model gives texts: PCA without centring.

    Late interaction compares vectors by their dot product. The first components of the *uncentred* second moment are the
    projection `W` (orthonormal rows) that keeps dot products best. Among all of that size, `W^T W v` is closest to `v` in mean
    square, and `<W q, W d>` is the dot product of `W^T W q` and `W^T W d`. Centring would subtract a mean from both sides and
    change every dot product by another amount; a linear map without bias could not do it either. The vectors are normalised
    again after the projection (docs/method.md §1), so the projection's error shows as changed angles, not as shorter vectors.

    Texts are encoded in blocks; memory holds one block and a (size, size) matrix in float64.

    Args:
        model: the model; its scoring tokens count.
        texts: of the kind that will be searched; read once.
        dim: size of the projected vectors.
        kinds: of the encoding of every text: `"query"`, `"document"`, or both, with equal weights.
        batch_size: texts per forward pass.
        show_progress_bar: whether to show how many texts are done.

    Raises:
        ValueError: if `dim` is not below the size of the model's vectors, a kind is unknown, or the texts have fewer tokens
            than `dim`.
    """
    size, kinds = model.config.vector_dim, list(dict.fromkeys(kinds))
    if isinstance(dim, bool) or not isinstance(dim, int) or not 0 < dim < size:
        raise ValueError(
            f"dim is {dim!r}; the model's token vectors have {size} dimensions, so it must be between 1 and {size - 1}."
        )
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds is {kinds!r}; allowed: {', '.join(map(repr, KINDS))}.")
    moments = {kind: SecondMoment(size) for kind in kinds}
    count = 0
    with logging.tqdm(desc="Token vectors", unit="text", disable=not show_progress_bar) as bar:
        for block in batched(texts, _TEXTS_AT_A_TIME):
            for kind, moment in moments.items():
                vectors = model.encode(block, kind, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
                moment.add(torch.cat(vectors))
            count += len(block)
            bar.update(len(block))
    tokens = sum(moment.tokens for moment in moments.values())
    if tokens < dim:
        raise ValueError(f"{count} texts have {tokens} tokens, fewer than the {dim} dimensions asked for: give more texts.")
    mean = torch.stack([moment.mean for moment in moments.values()]).mean(0)
    values, directions = torch.linalg.eigh(mean)
    values = values.flip(0).clamp_min(0)
    return TeacherProjection(directions.flip(1)[:, :dim].T.contiguous(), values / values.sum(), count, tokens)


def project_model(model: OpticalModel, projection: TeacherProjection) -> OpticalModel:
    """The model with projected token vectors. Backbone, processor settings and pooled vector stay as they are.

    A single linear map without bias stays one (the product of both), so that every format can hold it; behind several dense
    layers the projection is one more. The backbone is shared with the given model, not copied.

    Raises:
        ValueError: if the projection is for vectors of another size, or the pooled vector goes through the token vectors'
            projection and would be changed with it (CLIP).
    """
    if model.config.project_pooled:
        raise ValueError(
            "this model's pooled vector shares the projection of its token vectors (project_pooled, as in CLIP) and would leave"
            " the space of the images with it: it cannot be projected."
        )
    size = model.config.vector_dim
    if projection.components.shape[1] != size:
        raise ValueError(
            f"the projection is for vectors of {projection.components.shape[1]} dimensions, the model's have {size}."
        )
    dtype = next(model.parameters()).dtype
    config: OpticalConfig = copy.deepcopy(model.config)
    projected: nn.Module
    if isinstance(model.projection, nn.Sequential):
        layer: dict[str, Any] = {"out_features": projection.dim, "bias": False, "activation": "Identity", "residual": False}
        config.projection_layers = [*(config.projection_layers or []), layer]
        last = DenseLayer(size, **layer)
        _set_weight(last.linear, projection.components)
        projected = nn.Sequential(*model.projection.children(), last)
    else:
        weight = projection.components
        if isinstance(model.projection, nn.Linear):
            weight = weight @ model.projection.weight.detach().cpu().double()
        projected = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        _set_weight(projected, weight)
    config.embedding_dim = projection.dim
    with torch.device("meta"):  # its parts are put in below
        result = OpticalModel(config)
    result.backbone, result.pooled_projection = model.backbone, model.pooled_projection
    result.projection = projected.to(device=model.device, dtype=dtype)
    result.processor = type(model.get_processor())(model.get_processor().tokenizer, config)
    return result.eval()


@torch.no_grad()
def _set_weight(linear: nn.Linear, weight: torch.Tensor) -> None:
    linear.weight.copy_(weight)


def save_projected(
    model: OpticalModel, projection: TeacherProjection, folder: str | os.PathLike, *, source: str, kinds: Iterable[str]
) -> Path:
    """Writes a projected model, its processor and the record of the projection (`projection.json`), whole or not at all.

    Args:
        model: the result of `project_model`.
        projection: the projection.
        folder: replaced if it exists.
        source: name of the model that was projected, for the record.
        kinds: of the texts' encoding.
    """
    record = {
        "model": source,
        "dim": projection.dim,
        "explained": round(projection.explained(), 6),
        "texts": projection.texts,
        "tokens": projection.tokens,
        "kinds": list(kinds),
        "spectrum": [round(value, 8) for value in projection.spectrum.tolist()],
    }
    with replacing_folder(folder) as scratch:
        model.save_pretrained(scratch)
        write_text(scratch / RECORD_FILE, json.dumps(record) + "\n")
    return Path(folder)
