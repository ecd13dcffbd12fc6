"""Configuration of a late-interaction encoder and of the transport that distils it."""

from __future__ import annotations

import math
from inspect import signature
from typing import Any, ClassVar

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .transport_options import TransportOptions

QUERY_EXPANSIONS = ("none", "min", "fixed")
SKIPLISTS = ("none", "punctuation", "punctuation_and_symbols")
SCORED_TOKENS = ("all", "content")
KINDS = ("query", "document")
POOLING_MODES = ("mean", "cls", "max", "last")
_LAYER_KEYS = ("out_features", "bias", "activation", "residual")


class OpticalConfig(PreTrainedConfig):
    r"""
    Configuration of an [`OpticalModel`] and of the [`OpticalProcessor`] that feeds it (both read it from `config.json`).

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the encoder below the projection: anything that `AutoModel.from_config` builds and that
            returns `last_hidden_state`. Defaults to a BERT-base configuration.
        embedding_dim (`int`, *optional*):
            Size of a token vector. `None`: no projection, the backbone's hidden states are the token vectors. A projection that
            no checkpoint fills starts random and has to be trained.
        projection_layers (`list[dict]`, *optional*):
            Dense layers instead of the single linear map: each with `out_features`, `bias`, `activation` (name of a class of
            `torch.nn`, `"Identity"` for none) and `residual`. `embedding_dim` is then the last one's `out_features`.
        query_length (`int`, *optional*, defaults to 32):
            Longest query in tokens, special tokens, prompt and marker included; the rest is cut off. `None`: what the backbone
            takes.
        document_length (`int`, *optional*, defaults to 256):
            Longest document in tokens, counted the same way.
        query_marker, document_marker (`str`, *optional*):
            Token after the first special token of a query or document (ColBERT's [Q] and [D]). `None`: no marker.
        query_prompt, document_prompt (`str`, *optional*):
            Text put before every query or document, unchanged (sentence-transformers' prompts). Its tokens score, but are not
            content.
        query_expansion (`str`, defaults to `"none"`):
            `"none"`; `"min"`: queries shorter than `query_length` are padded to it with mask tokens, longer ones pass whole up
            to the backbone's limit; `"fixed"`: every query has exactly `query_length` tokens (ColBERT, arXiv 2004.12832).
        expansion_length (`int`, *optional*):
            For `"min"`: the length that queries are padded to, where it differs from `query_length`, which then is the longest
            query.
        expansion_token (`str`, *optional*):
            What queries are padded with. `None`: the mask token.
        attend_to_expansion_tokens (`bool`, defaults to `False`):
            Whether other tokens attend to the expansion tokens.
        skiplist (`str`, defaults to `"none"`):
            Document tokens that never score: `"none"`, `"punctuation"` (Unicode P*) or `"punctuation_and_symbols"` (P*, S*).
        skiplist_token_ids (`list[int]`, *optional*):
            An explicit skip list; replaces `skiplist`.
        skiplist_kinds (`list[str]`, defaults to `["document"]`):
            Which texts the skip list holds for: `"document"`, `"query"` or both.
        scored_query_tokens (`str`, defaults to `"all"`):
            Query tokens that take part in MaxSim: `"all"`, or `"content"` (no special, marker or expansion token).
        strip_text (`bool`, defaults to `True`):
            Whether space around a text is removed before the prompt is put on.
        pooling_mode (`str`, *optional*):
            `"mean"`, `"cls"` (first token), `"last"` (last token: CLIP's end of text) or `"max"` for a model with one vector
            per text beside its token vectors: how it comes from the hidden states. `None`: no such vector.
        pooled_layers (`list[dict]`, *optional*):
            Dense layers after the pooling, as `projection_layers`.
        project_pooled (`bool`, defaults to `False`):
            Whether the pooled hidden state goes through the token vectors' projection, so that both lie in one space, as in
            CLIP. Excludes `pooled_layers`.
        normalize_pooled (`bool`, defaults to `False`):
            Whether the pooled vector has unit length.
        transport (`dict` or `TransportOptions`, *optional*):
            Options of the transport loss, see [`TransportOptions`].
        teacher (`str`, *optional*):
            The teacher of the distillation, which also encodes the documents that the model searches: Hub id, folder or
            `package:NAME/PATH`. It changes no vector.
        teacher_fingerprint (`str`, *optional*):
            Fingerprint of the teacher as it encodes documents (`model_fingerprint`), which indexes have, too: it tells whether
            an index can be searched with the model. It changes no vector.

    Raises:
        ValueError: for a value outside the ones named above; the message names the key and the allowed values.

    Example:

    ```python
    >>> from modeling_optical import OpticalConfig, OpticalModel
    >>> model = OpticalModel(OpticalConfig(backbone_config={"model_type": "bert", "num_hidden_layers": 2}))
    ```
    """

    model_type = "optical"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["last_hidden_state", "hidden_states", "attentions"]
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    def __init__(
        self,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        embedding_dim: int | None = None,
        projection_layers: list[dict[str, Any]] | None = None,
        query_length: int | None = 32,
        document_length: int | None = 256,
        query_marker: str | None = None,
        document_marker: str | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        query_expansion: str = "none",
        expansion_length: int | None = None,
        expansion_token: str | None = None,
        attend_to_expansion_tokens: bool = False,
        skiplist: str = "none",
        skiplist_token_ids: list[int] | None = None,
        skiplist_kinds: list[str] | None = None,
        scored_query_tokens: str = "all",
        strip_text: bool = True,
        pooling_mode: str | None = None,
        pooled_layers: list[dict[str, Any]] | None = None,
        project_pooled: bool = False,
        normalize_pooled: bool = False,
        transport: TransportOptions | dict[str, Any] | None = None,
        teacher: str | None = None,
        teacher_fingerprint: str | None = None,
        **kwargs: Any,
    ):
        if backbone_config is None:
            backbone_config = AutoConfig.for_model("bert")
        elif isinstance(backbone_config, dict):
            values = dict(backbone_config)
            model_type = values.pop("model_type", None)
            if model_type is None:
                raise ValueError("backbone_config needs the key `model_type`, for instance 'bert' or 'xlm-roberta'.")
            if model_type not in CONFIG_MAPPING:
                raise ValueError(
                    f"backbone_config.model_type is {model_type!r}, which transformers {transformers.__version__} does not "
                    "know. Install a version that knows it, or register its class (AutoConfig.register) first."
                )
            backbone_config = AutoConfig.for_model(model_type, **values)
        self.backbone_config: PreTrainedConfig = backbone_config
        self.projection_layers = _layers("projection_layers", projection_layers)
        self.embedding_dim = self.projection_layers[-1]["out_features"] if self.projection_layers else embedding_dim
        self.query_length = query_length
        self.document_length = document_length
        self.query_marker = query_marker
        self.document_marker = document_marker
        self.query_prompt = query_prompt
        self.document_prompt = document_prompt
        self.query_expansion = query_expansion
        self.expansion_length = expansion_length
        self.expansion_token = expansion_token
        self.attend_to_expansion_tokens = attend_to_expansion_tokens
        self.skiplist = skiplist
        self.skiplist_token_ids = skiplist_token_ids
        self.skiplist_kinds = ["document"] if skiplist_kinds is None else list(skiplist_kinds)
        self.scored_query_tokens = scored_query_tokens
        self.strip_text = strip_text
        self.pooling_mode = pooling_mode
        self.pooled_layers = _layers("pooled_layers", pooled_layers)
        self.project_pooled = project_pooled
        self.normalize_pooled = normalize_pooled
        self.transport: TransportOptions = TransportOptions.of(transport)
        self.teacher = teacher
        self.teacher_fingerprint = teacher_fingerprint
        self.check()
        super().__init__(**kwargs)

    def check(self) -> None:
        """Checks the settings as they are now, which includes those set after construction.

        Raises:
            ValueError: naming the setting and the allowed values.
        """
        for key, allowed in (
            ("query_expansion", QUERY_EXPANSIONS),
            ("skiplist", SKIPLISTS),
            ("scored_query_tokens", SCORED_TOKENS),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} is {getattr(self, key)!r}; allowed: {', '.join(map(repr, allowed))}.")
        if self.pooling_mode is not None and self.pooling_mode not in POOLING_MODES:
            raise ValueError(f"pooling_mode is {self.pooling_mode!r}; allowed: {', '.join(map(repr, POOLING_MODES))} or null.")
        if not set(self.skiplist_kinds) <= set(KINDS):
            raise ValueError(f"skiplist_kinds is {self.skiplist_kinds!r}; it is a list of 'query' and 'document'.")
        for key in ("query_length", "document_length", "embedding_dim", "expansion_length"):
            value = getattr(self, key)
            if value is None:
                continue
            smallest = 1 if key == "embedding_dim" else 3
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{key} is {value!r}; it must be a whole number of at least {smallest}.")
        if self.expansion_length is not None and self.query_expansion != "min":
            raise ValueError('expansion_length belongs to query_expansion="min"; "fixed" pads to query_length.')
        if (self.expansion_length or 0) > (self.query_length or math.inf):
            raise ValueError(f"expansion_length {self.expansion_length} is above query_length {self.query_length}.")
        if self.query_expansion != "none" and self.query_length is None and self.expansion_length is None:
            raise ValueError(f'query_expansion="{self.query_expansion}" needs a query_length to pad to.')
        for key in ("query_marker", "document_marker", "query_prompt", "document_prompt", "expansion_token"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, str) or not value):
                kind = "a text" if "prompt" in key else "a token of the vocabulary, such as '[Q]'"
                raise ValueError(f"{key} is {value!r}; it must be {kind}, or null.")
        for key, what in (("teacher", "the name of a model"), ("teacher_fingerprint", "64 hexadecimal digits")):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(f"{key} is {getattr(self, key)!r}; it must be {what}, or null.")
        for key in ("attend_to_expansion_tokens", "strip_text", "project_pooled", "normalize_pooled"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"{key} must be true or false.")
        if self.project_pooled and (self.pooling_mode is None or self.pooled_layers):
            raise ValueError("project_pooled needs a pooling_mode, such as 'mean', and no pooled_layers.")

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """The backbone's configuration, which owns the vocabulary size."""
        return self.backbone_config.get_text_config(*args, **kwargs)

    def __setattr__(self, key: str, value: Any) -> None:
        # Checked where it is set, as a mapping or as options, and passed on as the one object from here to the solver.
        super().__setattr__(key, TransportOptions.of(value) if key == "transport" else value)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return super().to_dict() | {"transport": self.transport.to_dict()}

    @property
    def custom_pipelines(self) -> dict[str, Any]:
        """transformers' own pipeline knows nothing of markers and masks; it runs ours, or says what it needs for that."""
        implementation = "pipeline_optical.OpticalFeatureExtractionPipeline"
        return {"feature-extraction": {"impl": implementation, "pt": ("AutoModel",)}}

    @custom_pipelines.setter
    def custom_pipelines(self, value: Any) -> None:
        """Does nothing: what a saved pipeline notes here is the class's own."""

    @property
    def hidden_size(self) -> int:
        """Size of the backbone's hidden states; that of a token vector is `vector_dim`."""
        return self.get_text_config().hidden_size

    @hidden_size.setter
    def hidden_size(self, value: int) -> None:
        self.get_text_config().hidden_size = value

    @property
    def vocab_size(self) -> int:
        """Rows of the backbone's embedding matrix."""
        return self.get_text_config().vocab_size

    @vocab_size.setter
    def vocab_size(self, value: int) -> None:
        self.get_text_config().vocab_size = value

    @property
    def vector_dim(self) -> int:
        """Size of a token vector: `embedding_dim`, or the backbone's hidden size where there is no projection."""
        return self.get_text_config().hidden_size if self.embedding_dim is None else self.embedding_dim

    @property
    def pooled_dim(self) -> int | None:
        """Size of the pooled vector; None where there is none."""
        if self.pooling_mode is None:
            return None
        if self.project_pooled:
            return self.vector_dim
        return self.pooled_layers[-1]["out_features"] if self.pooled_layers else self.get_text_config().hidden_size


SETTINGS = tuple(name for name in signature(OpticalConfig.__init__).parameters if name not in ("self", "kwargs"))


def _layers(name: str, layers: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Dense layers with all their keys; an empty list is None."""
    if not layers:
        return None
    complete = []
    for layer in layers:
        unknown = sorted(set(layer) - set(_LAYER_KEYS))
        if unknown or not isinstance(layer.get("out_features"), int):
            raise ValueError(f"{name}: each layer has out_features (a whole number) and may have {', '.join(_LAYER_KEYS[1:])}.")
        complete.append({"bias": True, "activation": "Identity", "residual": False} | layer)
    return complete


__all__ = ["OpticalConfig"]
