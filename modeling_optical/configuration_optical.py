"""Configuration of a late-interaction encoder and of the transport that distils it."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

from .transport import TransportOptions

QUERY_EXPANSIONS = ("none", "min", "fixed")
SKIPLISTS = ("none", "punctuation", "punctuation_and_symbols")
SCORED_TOKENS = ("all", "content")


class OpticalConfig(PreTrainedConfig):
    r"""
    Configuration of an [`OpticalModel`] and of the [`OpticalProcessor`] that feeds it (both read it from `config.json`).

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the encoder below the projection: anything that `AutoModel.from_config` builds and that
            returns `last_hidden_state`. Defaults to a BERT-base configuration.
        embedding_dim (`int`, *optional*, defaults to 128):
            Size of a token vector. `None`: no projection, the backbone's hidden states are the token vectors.
        query_length (`int`, defaults to 32):
            Longest query in tokens, special tokens and marker included; the rest is cut off.
        document_length (`int`, defaults to 256):
            Longest document in tokens, counted alike.
        query_marker, document_marker (`str`, *optional*):
            Token that stands after the first special token of a query or document (ColBERT's [Q] and [D]). `None`: no marker.
        query_expansion (`str`, defaults to `"none"`):
            `"none"`; `"min"`: queries shorter than `query_length` are padded to it with mask tokens, longer ones pass whole up
            to the backbone's limit; `"fixed"`: every query has exactly `query_length` tokens (ColBERT, arXiv 2004.12832).
        attend_to_expansion_tokens (`bool`, defaults to `False`):
            Whether other tokens attend to the expansion tokens.
        skiplist (`str`, defaults to `"none"`):
            Document tokens that never score: `"none"`, `"punctuation"` (Unicode P*) or `"punctuation_and_symbols"` (P*, S*).
        skiplist_token_ids (`list[int]`, *optional*):
            An explicit skip list; takes the place of `skiplist`.
        scored_query_tokens (`str`, defaults to `"all"`):
            Query tokens that take part in MaxSim: `"all"`, or `"content"` (no special, marker or expansion token).
        transport (`dict` or `TransportOptions`, *optional*):
            Options of the transport loss, see [`TransportOptions`].

    Raises:
        ValueError: for a value outside the ones named above; the message says which key and what is allowed.

    Example:

    ```python
    >>> from modeling_optical import OpticalConfig, OpticalModel
    >>> model = OpticalModel(OpticalConfig(backbone_config={"model_type": "bert", "num_hidden_layers": 2}))
    ```
    """

    model_type = "optical"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}

    def __init__(
        self,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        embedding_dim: int | None = 128,
        query_length: int = 32,
        document_length: int = 256,
        query_marker: str | None = None,
        document_marker: str | None = None,
        query_expansion: str = "none",
        attend_to_expansion_tokens: bool = False,
        skiplist: str = "none",
        skiplist_token_ids: list[int] | None = None,
        scored_query_tokens: str = "all",
        transport: TransportOptions | dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        if backbone_config is None:
            backbone_config = AutoConfig.for_model("bert")
        elif isinstance(backbone_config, dict):
            values = dict(backbone_config)
            model_type = values.pop("model_type", None)
            if model_type is None:
                raise ValueError("backbone_config needs the key `model_type`, for instance 'bert' or 'xlm-roberta'.")
            backbone_config = AutoConfig.for_model(model_type, **values)
        self.backbone_config: PreTrainedConfig = backbone_config
        self.embedding_dim = embedding_dim
        self.query_length = query_length
        self.document_length = document_length
        self.query_marker = query_marker
        self.document_marker = document_marker
        self.query_expansion = query_expansion
        self.attend_to_expansion_tokens = attend_to_expansion_tokens
        self.skiplist = skiplist
        self.skiplist_token_ids = skiplist_token_ids
        self.scored_query_tokens = scored_query_tokens
        options = transport if isinstance(transport, TransportOptions) else TransportOptions.from_dict(transport or {})
        self.transport = options.to_dict()
        self._check()
        super().__init__(**kwargs)

    def _check(self) -> None:
        for key, allowed in (
            ("query_expansion", QUERY_EXPANSIONS),
            ("skiplist", SKIPLISTS),
            ("scored_query_tokens", SCORED_TOKENS),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} is {getattr(self, key)!r}; allowed: {', '.join(map(repr, allowed))}.")
        for key in ("query_length", "document_length", "embedding_dim"):
            value = getattr(self, key)
            if value is None and key == "embedding_dim":
                continue
            smallest = 1 if key == "embedding_dim" else 3
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{key} is {value!r}; it must be a whole number of at least {smallest}.")
        for key in ("query_marker", "document_marker"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{key} is {value!r}; it must be a token of the vocabulary, such as '[Q]', or null.")
        if not isinstance(self.attend_to_expansion_tokens, bool):
            raise ValueError("attend_to_expansion_tokens must be true or false.")

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """The backbone's configuration, which owns the vocabulary size."""
        return self.backbone_config.get_text_config(*args, **kwargs)

    @property
    def transport_options(self) -> TransportOptions:
        """The transport options as a checked object."""
        return TransportOptions.from_dict(self.transport)

    @property
    def vector_dim(self) -> int:
        """Size of a token vector: `embedding_dim`, or the backbone's hidden size where there is no projection."""
        return self.get_text_config().hidden_size if self.embedding_dim is None else self.embedding_dim


__all__ = ["OpticalConfig"]
