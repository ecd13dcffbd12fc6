"""Late-interaction encoder, and the same encoder with the transport loss."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as functional
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple, logging

from .backbones import build_backbone, check_backbone_is_known, indivisible_modules, load_backbone
from .configuration_optical import SETTINGS, OpticalConfig
from .dense_layers import dense_layers, pool
from .pipeline_optical import OpticalFeatureExtractionPipeline
from .pretrained import (
    check_files,
    check_finite,
    check_tokenizer,
    check_weights,
    hub_arguments,
    load_tokenizer,
    refuse_unknown,
    split_arguments,
)
from .processing_optical import OpticalProcessor
from .text_encoding import TextEncoder
from .transport import TransportPlan, transport_loss

logger = logging.get_logger(__name__)


@dataclass
class OpticalModelOutput(ModelOutput):
    """
    Output of [`OpticalModel`].

    Args:
        token_vectors (`torch.FloatTensor` of shape `(batch, tokens, dim)`): unit vectors, zero where `token_mask` is False.
        token_mask (`torch.BoolTensor` of shape `(batch, tokens)`): the tokens that take part in MaxSim.
        pooled_vector (`torch.FloatTensor` of shape `(batch, config.pooled_dim)`): one vector per text, where
            `config.pooling_mode` is set.
        token_weights (`dict` of `torch.FloatTensor` of shape `(batch, tokens)`): the weights that `weigh_tokens_by` names.
        last_hidden_state (`torch.FloatTensor` of shape `(batch, tokens, hidden)`): the backbone's.
        hidden_states, attentions: the backbone's, if requested.
    """

    token_vectors: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    pooled_vector: torch.Tensor | None = None
    token_weights: dict[str, torch.Tensor] | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class OpticalDistillationOutput(ModelOutput):
    """
    Output of [`OpticalForDistillation`].

    Args:
        loss (`torch.FloatTensor` of shape `()`): the transport loss, if teacher vectors were given.
        token_vectors (`torch.FloatTensor` of shape `(batch, tokens, dim)`): unit vectors of every token that scores or carries
            mass, zero elsewhere.
        token_mask (`torch.BoolTensor` of shape `(batch, tokens)`): the tokens that take part in MaxSim.
        pooled_vector (`torch.FloatTensor` of shape `(batch, config.pooled_dim)`): as in [`OpticalModelOutput`].
        plan ([`TransportPlan`]): the solution behind the loss, without gradient.
        token_weights (`torch.FloatTensor` of shape `(batch, tokens)`): what the mass of the tokens is proportional to, where it
            is not uniform.
        last_hidden_state, hidden_states, attentions: as in [`OpticalModelOutput`].
    """

    loss: torch.Tensor | None = None
    token_vectors: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    pooled_vector: torch.Tensor | None = None
    plan: TransportPlan | None = None
    token_weights: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


PARTS = ("backbone", "projection", "pooled_projection")
"""The parts of a model that have weights."""


class OpticalPreTrainedModel(PreTrainedModel):
    """Weight initialisation and the loading interface of all models of this family."""

    config_class = OpticalConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules: set[str] | list[str] | None = None
    # The losses are means over the batch, which the Trainer has to divide by the accumulation steps.
    accepts_loss_kwargs = False
    # A checkpoint of `OpticalForMultipleChoice` is one of the other models, too, and the other way round.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^choice_head\."]
    _keys_to_ignore_on_load_missing: ClassVar[list[str]] = [r"^choice_head\."]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, strict: bool = True, **kwargs: Any) -> Any:
        """Loads a model; arguments as in transformers. Any setting of [`OpticalConfig`] replaces the checkpoint's.

        Args:
            pretrained_model_name_or_path: folder or Hub id.
            strict: whether the checkpoint must hold exactly the model's weights; with False, those that it lacks start random.
                `output_loading_info=True`, which returns the names of both, refuses nothing either.

        Raises:
            ValueError: if weights are missing, left over or no finite numbers, or settings ask for other repositories, for
                files outside of the checkpoint, or for sizes that no model has. TypeError: for an unknown argument.
        """
        with_info = kwargs.pop("output_loading_info", False)
        given = hub_arguments(kwargs)
        if pretrained_model_name_or_path is not None:
            check_files(pretrained_model_name_or_path, given)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        check_finite(str(pretrained_model_name_or_path), model)
        if strict and not with_info:
            check_weights(str(pretrained_model_name_or_path), info, PARTS)
        # Later reads of the repository use the same arguments; a saved config must not hold a token.
        if getattr(model, "_hf_peft_config_loaded", False):  # they are the adapter's; the processor is the base model's
            given = {key: value for key, value in given.items() if key not in ("revision", "subfolder")}
        model._hub_arguments = given
        return (model, info) if with_info else model

    def save_pretrained(self, save_directory: str | os.PathLike, is_main_process: bool = True, **kwargs: Any) -> None:
        """Saves weights, configuration, code and the processor, so that the folder is whole; arguments as in transformers.

        A model that was made in memory without a processor is saved without one.

        Raises:
            ValueError: if the backbone's code is not a part of transformers: the folder could not be loaded again.
        """
        check_backbone_is_known(self.config.backbone_config)
        # With an adapter, only that is saved; the processor is with the base model.
        processor = None if getattr(self, "_hf_peft_config_loaded", False) else self._saved_processor()
        if processor is not None and is_main_process:
            processor.save_pretrained(save_directory)  # first, so that a push takes it along
        with _as_written(self):
            super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        # safetensors makes files that only their owner can read; the configuration beside them has an ordinary file's mode.
        settings = Path(save_directory, "config.json")
        for weights in Path(save_directory).glob("*.safetensors") if is_main_process and settings.is_file() else ():
            weights.chmod(settings.stat().st_mode)

    def _saved_processor(self) -> OpticalProcessor | None:
        """The processor that is saved with the model."""
        return None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Recognised by the projection itself: a model without direct parameters counts as loaded when a checkpoint is.
        if isinstance(self, OpticalModel) and module is self.projection and isinstance(module, nn.Linear):
            init.normal_(module.weight, mean=0.0, std=module.in_features**-0.5)
        else:
            super()._init_weights(module)


class OpticalModel(TextEncoder, OpticalPreTrainedModel):
    """
    A backbone, a linear projection without bias, and unit token vectors (ColBERT, arXiv 2004.12832).

    Checkpoint keys are `backbone.*` and `projection.weight`, the same for every model of this family. Where the configuration
    asks for more layers they are `projection.0.linear.weight` and so on, and `pooled_projection.*`.

    Args:
        config ([`OpticalConfig`]): the configuration.

    Raises:
        ValueError: if the backbone has no `hidden_size`.

    Example:

    ```python
    >>> model = AutoModel.from_pretrained("path/to/student")
    >>> vectors = model.encode_query(["habari ya asubuhi"])  # one array (tokens, dim) per text
    ```
    """

    def __init__(self, config: OpticalConfig, **unknown: Any):
        # transformers hands on what it does not know itself.
        refuse_unknown(f"{type(self).__name__}.from_pretrained", unknown, SETTINGS)
        super().__init__(config)
        config.backbone_config.return_dict = True
        self.backbone: Any = build_backbone(config.backbone_config)
        hidden_size = getattr(config.get_text_config(), "hidden_size", None)
        if hidden_size is None:
            raise ValueError(f"a backbone of type {config.get_text_config().model_type!r} has no hidden_size.")
        self.projection: nn.Module | None = None
        if config.projection_layers:
            self.projection = dense_layers(hidden_size, config.projection_layers)
        elif config.embedding_dim is not None:
            self.projection = nn.Linear(hidden_size, config.embedding_dim, bias=False)
        self.pooled_projection = dense_layers(hidden_size, config.pooled_layers) if config.pooled_layers else None
        self.processor: OpticalProcessor | None = None
        self._hub_arguments: dict[str, Any] = {}
        self.post_init()
        if not self._no_split_modules:
            self._no_split_modules = indivisible_modules(self.backbone)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    @classmethod
    def from_backbone(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        **kwargs: Any,
    ) -> OpticalModel:
        """
        Starts a late-interaction model from a pretrained encoder.

        Args:
            pretrained_model_name_or_path: folder or Hub id of an encoder that `AutoModel` loads.
            **kwargs: arguments of `from_pretrained` (revision, token, dtype, attn_implementation, strict …), and values of
                [`OpticalConfig`]. Markers that the vocabulary lacks are added to it.

        Returns:
            The model in eval mode, its `processor` set. A projection starts random.

        Raises:
            ValueError: if the checkpoint lacks weights of the encoder, or the tokenizer is another model's. TypeError: for an
                unknown argument.
        """
        name = os.fspath(pretrained_model_name_or_path)
        settings, loading = split_arguments("from_backbone", kwargs, SETTINGS)
        found = hub_arguments(loading)
        backbone_config = AutoConfig.from_pretrained(name, **found)
        tokenizer = load_tokenizer(name, **found)
        return cls.around_backbone(load_backbone(name, backbone_config, loading), tokenizer, name, **settings)

    @classmethod
    def around_backbone(
        cls, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, **config_values: Any
    ) -> OpticalModel:
        """
        Starts a late-interaction model from an encoder in memory.

        Args:
            backbone: the encoder; it becomes a part of the model.
            tokenizer: its tokenizer.
            name: folder or Hub id that they came from.
            **config_values: as for `from_backbone`.

        Returns:
            The model in eval mode, its `processor` set. A projection starts random.

        Raises:
            ValueError: if the tokenizer is another model's, or cannot read. TypeError: for an unknown setting.
        """
        refuse_unknown("around_backbone", set(config_values) - set(SETTINGS), SETTINGS)
        # Not a copy of the backbone's configuration: values set on the backbone later (a language, say) are saved with it.
        backbone_config = backbone.config
        if os.path.isdir(name):
            backbone_config._name_or_path = ""  # a path of this machine has no place in a saved config
        check_tokenizer(tokenizer, len(backbone.get_input_embeddings().weight))
        attention = backbone_config._attn_implementation
        config = cls.config_class(backbone_config=backbone_config, attn_implementation=attention, **config_values)
        model = cls(config).to(device=backbone.device, dtype=backbone.dtype)
        model.backbone = backbone
        markers = [m for m in (config.query_marker, config.document_marker) if m is not None]
        missing = [m for m in markers if m not in tokenizer.get_vocab()]
        if missing:
            tokenizer.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
            if len(tokenizer) > config.vocab_size:
                model.resize_token_embeddings(len(tokenizer))
        model.processor = OpticalProcessor(tokenizer, config)
        return model.eval()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        weigh_tokens_by: Sequence[str] = (),
        **kwargs: Any,
    ) -> OpticalModelOutput:
        """
        Args:
            input_ids: (batch, tokens).
            attention_mask: (batch, tokens), non-zero where attention sees the token. None: everywhere.
            token_mask: (batch, tokens) bool, the tokens that take part in MaxSim. None: those that attention sees.
            inputs_embeds: (batch, tokens, hidden) instead of `input_ids`.
            weigh_tokens_by: `"norm"` and `"attention"`, see `TransportOptions.marginals`; in `token_weights` of the output.
            **kwargs: passed to the backbone (output_hidden_states, output_attentions, position_ids …).

        The processor pads on the right. Batches padded on the left need `position_ids` that count from each text's first
        token where the backbone has learned positions without a padding id (BERT, DistilBERT).
        Raises:
            ValueError: if attention is asked for and the backbone does not return it.
        """
        vectors, attention_mask, outputs, weights = self._token_vectors(
            input_ids, attention_mask, inputs_embeds, weigh_tokens_by, **kwargs
        )
        if token_mask is None:
            token_mask = attention_mask.bool()
        return OpticalModelOutput(
            token_vectors=_mask(vectors, token_mask),
            token_mask=token_mask,
            pooled_vector=self._pool(outputs.last_hidden_state, attention_mask),
            token_weights=weights or None,
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    def _pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor | None:
        """The one vector per text, where there is one."""
        if self.config.pooling_mode is None:
            return None
        pooled = pool(hidden, attention_mask, self.config.pooling_mode)
        projection = self.projection if self.config.project_pooled else self.pooled_projection
        if projection is not None:
            pooled = projection(pooled)
        return functional.normalize(pooled.float(), dim=-1).to(pooled.dtype) if self.config.normalize_pooled else pooled

    def _token_vectors(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        weigh_tokens_by: Sequence[str] = (),
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, Any, dict[str, torch.Tensor]]:
        """Unit vectors of all tokens, the attention mask, the backbone's output, and weights of the tokens."""
        if attention_mask is None:
            given = input_ids if input_ids is not None else inputs_embeds
            if given is None:
                raise ValueError("forward needs input_ids or inputs_embeds.")
            attention_mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device)
        if self.config.output_hidden_states:
            kwargs.setdefault("output_hidden_states", True)
        if self.config.output_attentions:
            kwargs.setdefault("output_attentions", True)
        if "attention" in weigh_tokens_by:
            kwargs["output_attentions"] = True
        if inputs_embeds is not None:  # some backbones (CLIP's text tower) do not know the argument
            kwargs["inputs_embeds"] = inputs_embeds
        outputs = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        hidden = outputs.last_hidden_state
        if self.projection is not None:
            hidden = self.projection(hidden)
        # docs/method.md §1: the norm in single precision, whatever the weights' dtype.
        vectors = functional.normalize(hidden.float(), dim=-1).to(hidden.dtype)
        weights = {}
        if "norm" in weigh_tokens_by:
            weights["norm"] = hidden.detach().float().norm(dim=-1)
        if "attention" in weigh_tokens_by:
            weights["attention"] = _received_attention(outputs.get("attentions"), attention_mask)
        return vectors, attention_mask, outputs, weights

    def _saved_processor(self) -> OpticalProcessor | None:
        if self.processor is None and not self.config._name_or_path:
            return None
        try:
            return self.get_processor()
        except (ValueError, OSError) as error:  # the weights may be hours of work
            logger.warning(f"the model is saved without a processor, so that it cannot encode texts: {error}")
            return None

    def get_processor(self) -> OpticalProcessor:
        """`self.processor`, loaded from the model's folder or Hub id if it is not set.

        Raises:
            ValueError: if the model was made in memory and has none.
        """
        if self.processor is None:
            source = self.config._name_or_path
            if not source:
                raise ValueError("this model has no processor: set model.processor, or pass processor=….")
            self.processor = OpticalProcessor.from_pretrained(source, config=self.config, **self._hub_arguments)
        return self.processor


class OpticalForDistillation(OpticalModel):
    """
    An [`OpticalModel`] that returns the transport loss when teacher vectors are given (OPTICAL, arXiv 2301.12566).

    Its checkpoints load as [`OpticalModel`] and the other way round: it adds no weights. The options of the transport are
    `config.transport`.
    """

    @can_return_tuple
    def forward(  # returns more than the plain model, and takes what the loss needs
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_mask: torch.Tensor | None = None,
        content_mask: torch.Tensor | None = None,
        teacher_vectors: torch.Tensor | None = None,
        teacher_mask: torch.Tensor | None = None,
        teacher_content_mask: torch.Tensor | None = None,
        token_weights: torch.Tensor | None = None,
        teacher_weights: torch.Tensor | None = None,
        solving_bonus: torch.Tensor | None = None,
        solving_vectors: torch.Tensor | None = None,
        epsilon: float | None = None,
        inputs_embeds: torch.Tensor | None = None,
        weigh_tokens_by: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> OpticalDistillationOutput:
        """
        Args:
            input_ids, attention_mask, token_mask, inputs_embeds, **kwargs: as for [`OpticalModel`].
            content_mask: (batch, tokens) bool, tokens that are neither special, marker nor expansion. None: `token_mask`.
            teacher_vectors, teacher_mask, teacher_content_mask, teacher_weights, solving_bonus, solving_vectors, epsilon: as
                for `transport`. Without `teacher_vectors` there is no loss.
            token_weights: (batch, tokens), what the mass of the tokens is proportional to. None: by `transport.marginals` of
                the configuration; `"idf"` cannot do without.
            weigh_tokens_by: instead of `transport.marginals`; () where no transport is to follow.

        Raises:
            ValueError: if the teacher's vectors have another dimension than the student's, or what the options need is missing.
        """
        marginals, by = self.config.transport.marginals, weigh_tokens_by
        if by is None:
            by = (marginals,) if token_weights is None and marginals in ("norm", "attention") else ()
        vectors, attention_mask, outputs, weights = self._token_vectors(input_ids, attention_mask, inputs_embeds, by, **kwargs)
        if token_mask is None:
            token_mask = attention_mask.bool()
        if content_mask is None:
            content_mask = token_mask
        output = OpticalDistillationOutput(
            token_vectors=_mask(vectors, token_mask | content_mask),
            token_mask=token_mask,
            pooled_vector=self._pool(outputs.last_hidden_state, attention_mask),
            token_weights=weights[by[0]] if by else token_weights,
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )
        if teacher_vectors is not None:
            output.loss, output.plan = self.transport(
                output,
                content_mask,
                teacher_vectors,
                teacher_mask,
                teacher_content_mask,
                teacher_weights=teacher_weights,
                solving_bonus=solving_bonus,
                solving_vectors=solving_vectors,
                epsilon=epsilon,
            )
        return output

    def transport(
        self,
        output: OpticalDistillationOutput,
        content_mask: torch.Tensor,
        teacher_vectors: torch.Tensor,
        teacher_mask: torch.Tensor | None = None,
        teacher_content_mask: torch.Tensor | None = None,
        *,
        teacher_weights: torch.Tensor | None = None,
        solving_bonus: torch.Tensor | None = None,
        solving_vectors: torch.Tensor | None = None,
        epsilon: float | None = None,
    ) -> tuple[torch.Tensor, TransportPlan]:
        """
        The transport loss of encoded texts, by the options of the configuration.

        Args:
            output: of `forward`; its `token_vectors`, `token_mask` and `token_weights` are read.
            content_mask: (batch, tokens) bool.
            teacher_vectors: (batch, teacher tokens, dim) unit vectors of the same texts in the teacher's language.
            teacher_mask: (batch, teacher tokens) bool, the teacher's scoring tokens. None: all.
            teacher_content_mask: (batch, teacher tokens) bool. None: `teacher_mask`.
            teacher_weights: (batch, teacher tokens), what the mass is proportional to, unless it is uniform.
            solving_bonus: (batch, tokens, teacher tokens), see `transport_loss`.
            solving_vectors: (batch, tokens, dim), see `transport_loss`.
            epsilon: replaces the configured one (annealing).

        Returns:
            The mean cost over the batch, and the plan.

        Raises:
            ValueError: if the dimensions differ, or the options ask for marginals that are not given.
        """
        vectors, token_mask = output.token_vectors, output.token_mask
        assert vectors is not None
        assert token_mask is not None
        options = self.config.transport if epsilon is None else self.config.transport.solving(epsilon=epsilon)
        if teacher_mask is None:
            teacher_mask = torch.ones(teacher_vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        row_mask, column_mask = token_mask, teacher_mask
        if options.tokens == "content":
            row_mask = content_mask & token_mask  # a document's skip-listed tokens are content and never score
            column_mask = teacher_mask if teacher_content_mask is None else teacher_content_mask & teacher_mask
        row_weights, column_weights = output.token_weights, teacher_weights
        if options.marginals == "uniform":
            row_weights = column_weights = None
        elif row_weights is None or column_weights is None:
            side = "student's" if row_weights is None else "teacher's"
            raise ValueError(
                f"transport.marginals={options.marginals!r} needs weights of the {side} tokens; the batch has none."
            )
        return transport_loss(
            vectors,
            teacher_vectors,
            row_mask,
            column_mask,
            row_weights=row_weights,
            column_weights=column_weights,
            solving_bonus=solving_bonus,
            solving_vectors=solving_vectors,
            options=options,
        )


@contextmanager
def _as_written(model: PreTrainedModel) -> Iterator[None]:
    """Gives a model the class from its source file: `fully_shard` and parametrizations replace it by a generated subclass.

    The checkpoint names that class and carries its file.
    """
    made_up = type(model)
    model.__class__ = next(
        own
        for own in made_up.__mro__
        if issubclass(own, OpticalPreTrainedModel)
        and ("<locals>" in own.__qualname__ or getattr(sys.modules.get(own.__module__), own.__name__, None) is own)
    )
    try:
        yield
    finally:
        model.__class__ = made_up


def _mask(vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask.unsqueeze(-1), vectors, 0)


def _received_attention(attentions: tuple[torch.Tensor, ...] | None, attention_mask: torch.Tensor) -> torch.Tensor:
    """(batch, tokens): attention that each token receives in the last layer, mean over heads and attending tokens."""
    if not attentions or attentions[-1] is None:
        raise ValueError(
            "this backbone returns no attention: marginals from attention need the eager implementation. Call "
            "model.set_attn_implementation('eager'), or load with attn_implementation='eager'."
        )
    attending = attention_mask.bool().unsqueeze(2)
    received = torch.where(attending, attentions[-1].detach().float().mean(1), 0).sum(1)
    return received / attending.sum(1).clamp_min(1)


__all__ = [
    "OpticalFeatureExtractionPipeline",
    "OpticalForDistillation",
    "OpticalModel",
    "OpticalModelOutput",
    "OpticalPreTrainedModel",
]
