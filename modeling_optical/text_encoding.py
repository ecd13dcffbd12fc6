"""Texts to token vectors: what a model offers beside its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as functional
from transformers.utils import logging

from .configuration_optical import KINDS
from .late_interaction import search
from .precision import autocast, keeping_casts
from .pretrained import refuse_unknown

if TYPE_CHECKING:
    from .processing_optical import OpticalProcessor

_ONE_DEVICE = (
    "encode works on one device. To encode a corpus on several, start `optical encode` or encode_corpus(…) with accelerate "
    "launch: each process encodes its share."
)


class TextEncoder:
    """Encoding with the names of sentence-transformers, for a model with a `config`, a `device` and a `get_processor`.

    All texts go through the module's call, so that hooks, `model.compile()` and sharded parameters work.

    Attributes:
        precision: what texts are encoded in where `encode` does not say: one of `PRECISIONS`, or None for the weights' own.
        kept_digest: SHA-256 of the weights, where they are not at hand.
        casts_weights: whether a batch in half precision pays for converting the weights, which small batches then do without.
    """

    # What the model has.
    __call__: Callable[..., Any]
    config: Any
    device: Any
    dtype: Any
    eval: Callable[[], Any]
    get_processor: Callable[[], Any]
    modules: Callable[..., Any]
    to: Callable[..., Any]
    train: Callable[..., Any]
    training: bool
    precision: str | None = None
    kept_digest: Any = None
    casts_weights: bool = True

    @property
    def prompts(self) -> dict[str, str]:
        """The text that is put before a query or document; `prompt_name` names one."""
        return {kind: getattr(self.config, f"{kind}_prompt") or "" for kind in KINDS}

    def encode_query(self, inputs: str | Iterable[str], **kwargs: Any) -> Any:
        """Token vectors of queries, one text or many; arguments and result as for `encode`."""
        return self.encode(inputs, "query", **kwargs)

    def encode_document(self, inputs: str | Iterable[str], **kwargs: Any) -> Any:
        """Token vectors of documents, one text or many; arguments and result as for `encode`."""
        return self.encode(inputs, "document", **kwargs)

    def encode(
        self,
        inputs: str | Iterable[str],
        kind: str = "query",
        *,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = True,
        **kwargs: Any,
    ) -> Any:
        """
        Encodes texts in batches of similar length.

        Args:
            inputs: one text or many.
            kind: `"query"` or `"document"`; `encode_query` and `encode_document` say it by their names.
            convert_to_numpy: numpy arrays; False for tensors.
            convert_to_tensor: CPU tensors instead of numpy arrays.
            normalize_embeddings: token vectors have unit length in any case.
            prompt: text to put before each input, instead of the configured one; "" for none.
            prompt_name: `"query"` or `"document"`: the configured prompt of that kind.
            batch_size: texts per batch (32).
            max_length: tokens per text, instead of the configured length.
            show_progress_bar: None shows it from 1,000 texts on.
            device: moves the model there first. None: where it is.
            precision: `"auto"` (bf16 where the hardware has it), `"bf16"`, `"fp16"` or `"fp32"`. None: `self.precision`,
                which is None too unless `load_checkpoint(…, precision=…)` set it, and then the weights' own.
            processor: instead of the model's own.

        Returns:
            One float32 array (scoring tokens, dim) for a string, a list of them in the order given for many texts. A text
            without scoring tokens gets (0, dim).

        Raises:
            ValueError: if no processor can be found, for an unknown `kind` or `prompt_name`, or for several devices.
        """
        single, texts = _as_list(inputs)
        results: list[Any] = [None] * len(texts)
        for chosen, output in self._outputs(texts, kind, **kwargs):
            vectors, mask = output["token_vectors"].float().cpu(), output["token_mask"].cpu()
            _check_numbers(vectors, chosen, texts)
            for row, index in enumerate(chosen):
                kept = vectors[row][mask[row]]
                results[index] = kept.numpy() if convert_to_numpy and not convert_to_tensor else kept
        return results[0] if single else results

    def encode_pooled(
        self, inputs: str | Iterable[str], kind: str = "query", *, normalize_embeddings: bool = False, **kwargs: Any
    ) -> torch.Tensor:
        """
        One vector per text, of a model with a pooling (`config.pooling_mode`): a sentence encoder, or CLIP's text tower and its
        students, whose vectors meet CLIP's image vectors.

        Args:
            inputs, kind: as for `encode`.
            normalize_embeddings: unit vectors, where `config.normalize_pooled` does not ask for them.
            **kwargs: as for `encode`.

        Returns:
            (`config.pooled_dim`,) for a string, (texts, `config.pooled_dim`) for many texts; float32 on the CPU.

        Raises:
            ValueError: if the model has no pooling.
        """
        if self.config.pooled_dim is None:
            raise ValueError("this model has no pooled vector: config.pooling_mode is null. Set it, for instance to 'mean'.")
        single, texts = _as_list(inputs)
        results = torch.empty(len(texts), self.config.pooled_dim)
        for chosen, output in self._outputs(texts, kind, **kwargs):
            results[chosen] = output["pooled_vector"].float().cpu()
            _check_numbers(results[chosen], chosen, texts)
        if normalize_embeddings:
            results = functional.normalize(results, dim=-1)
        return results[0] if single else results

    def similarity(self, queries: Any, documents: Any) -> torch.Tensor:
        """MaxSim of every query with every document (docs/method.md §1).

        Args:
            queries: what `encode_query` returned: one array (tokens, dim), a list of them, or a padded array
                (texts, tokens, dim) with zeros behind each text.
            documents: what `encode_document` returned.

        Returns:
            (queries, documents) float32 on the CPU.
        """
        queries, documents = _token_vectors(queries), _token_vectors(documents)
        positions, scores = search(queries, documents, k=len(documents))
        return torch.zeros_like(scores).scatter_(1, positions, scores)

    def start_multi_process_pool(self, *args: Any, **kwargs: Any) -> Any:
        """sentence-transformers' pool of processes, which this package has another way for."""
        raise NotImplementedError(_ONE_DEVICE)

    def _outputs(
        self,
        texts: list[str],
        kind: str,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        show_progress_bar: bool | None = None,
        device: Any = None,
        pool: Any = None,
        precision: str | None = None,
        processor: OpticalProcessor | None = None,
        **unknown: Any,
    ) -> Iterator[tuple[list[int], Any]]:
        """Positions and outputs of batches of texts, the longest first: a batch that does not fit shows at once."""
        refuse_unknown("encode", unknown, [name for name in signature(TextEncoder._outputs).parameters if name != "self"])
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
        if pool is not None or isinstance(device, (list, tuple)):
            raise ValueError(_ONE_DEVICE)
        if kind == "query":
            check_expansion(self)
        if device is not None:
            self.to(device)
        if prompt is None and prompt_name is not None:
            if prompt_name not in self.prompts:
                raise ValueError(f"prompt_name is {prompt_name!r}; this model has prompts for 'query' and 'document'.")
            prompt = self.prompts[prompt_name]
        precision, processor = precision or self.precision, processor or self.get_processor()
        features = [
            feature
            for start in range(0, len(texts), 1024)
            for feature in processor.tokenize(texts[start : start + 1024], kind, max_length, prompt=prompt)
        ]
        order = sorted(range(len(texts)), key=lambda i: len(features[i]["input_ids"]), reverse=True)
        with (
            evaluating(self),
            keeping_casts(),
            logging.tqdm(
                total=len(texts),
                desc=f"Encoding {'queries' if kind == 'query' else 'documents'}",
                unit="text",
                disable=not (len(texts) >= 1000 if show_progress_bar is None else show_progress_bar),
            ) as bar,
        ):
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = processor.pad([features[i] for i in chosen]).to(self.device)
                del batch["content_mask"]
                tokens = batch["input_ids"].numel() if self.casts_weights else None
                with torch.no_grad(), autocast(precision, self.device, self.dtype, tokens):
                    output = self(**batch, weigh_tokens_by=(), return_dict=True)
                yield chosen, output
                bar.update(len(chosen))


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Puts a model into eval mode, and each of its parts back into the mode that it had."""
    training = [module for module in model.modules() if module.training]
    if training:  # to set it takes longer than a query should
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_expansion(model: Any) -> None:
    """Rejects queries with expansion tokens that attention does not see, where flash attention would leave them out.

    Raises:
        ValueError: saying which attention computes them.
    """
    config = model.config
    attention = getattr(config.get_text_config(), "_attn_implementation", None) or ""
    if "flash" in attention and config.query_expansion != "none" and not config.attend_to_expansion_tokens:
        raise ValueError(
            f"attn_implementation={attention!r} gives no vectors to the query's expansion tokens, which attention does not see "
            "in this model. Load it with attn_implementation='sdpa'."
        )


def _check_numbers(vectors: torch.Tensor, chosen: Sequence[int], texts: Sequence[str]) -> None:
    """Rejects vectors that are infinite or not numbers.

    Raises:
        ValueError: naming the first text that has one.
    """
    if bool(vectors.isfinite().all()):
        return
    wrong = int((~vectors.flatten(1).isfinite().all(1)).nonzero()[0])
    raise ValueError(
        f"the model gives vectors that are not finite numbers, first for text {chosen[wrong]}, {texts[chosen[wrong]]!r:.80}. "
        "Its weights are damaged, or overflow in half precision: fetch or train it again, or use float32."
    )


def _as_list(inputs: str | Iterable[str]) -> tuple[bool, list[str]]:
    """Whether it is one text, and the texts."""
    return (True, [inputs]) if isinstance(inputs, str) else (False, list(inputs))


def _token_vectors(vectors: Any) -> list[Any]:
    """One array (tokens, dim) per text, without the zeros of padding."""
    if not hasattr(vectors, "ndim"):
        return list(vectors)
    if vectors.ndim == 2:
        return [vectors]
    return [row[(row != 0).any(-1)] for row in vectors]


__all__ = ["TextEncoder"]
