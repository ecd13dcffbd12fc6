"""`pipeline("feature-extraction")` with markers, expansion and masks, which transformers' own leaves out."""

from __future__ import annotations

from typing import Any

from transformers import FeatureExtractionPipeline


class OpticalFeatureExtractionPipeline(FeatureExtractionPipeline):
    """Token vectors of texts, as `OpticalModel.encode` gives them.

    `pipeline("feature-extraction", model=NAME, trust_remote_code=True)` loads it from the checkpoint; where the package is
    installed, `pipeline_class=` names it.

    Example:

    ```python
    >>> extract = pipeline("feature-extraction", model="path/to/student", trust_remote_code=True)
    >>> extract("habari ya asubuhi", kind="query")  # one list of `dim` numbers per scoring token
    ```
    """

    _load_tokenizer = False

    def _sanitize_parameters(
        self, kind: str | None = None, max_length: int | None = None, return_tensors: bool | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise TypeError(f"this pipeline takes kind, max_length and return_tensors, not {', '.join(kwargs)}.")
        given = {"kind": kind, "max_length": max_length}
        after = {} if return_tensors is None else {"return_tensors": return_tensors}
        return {key: value for key, value in given.items() if value is not None}, {}, after

    def preprocess(self, inputs: str, **settings: Any) -> Any:
        batch = self.model.get_processor()(inputs, **settings)
        del batch["content_mask"]
        return batch

    def postprocess(self, model_outputs: Any, return_tensors: bool = False) -> Any:
        """(scoring tokens, dim) in a batch of one, as transformers' own returns it."""
        vectors = model_outputs["token_vectors"][:, model_outputs["token_mask"][0]]
        return vectors if return_tensors else vectors.tolist()


__all__ = ["OpticalFeatureExtractionPipeline"]
