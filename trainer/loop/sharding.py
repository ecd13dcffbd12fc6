"""The modules that FSDP shards as one unit."""

from __future__ import annotations

from accelerate import Accelerator
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer


def wrap_layers(accelerator: Accelerator, model: nn.Module) -> None:
    """Has FSDP shard a model layer by layer, unless its configuration names the classes.

    Left alone, accelerate takes `_no_split_modules`, which also names what sums embeddings. As a separate unit that fails,
    because its weights are read from outside, too.
    """
    plugin = accelerator.state.fsdp_plugin if accelerator.state.distributed_type == "FSDP" else None
    if plugin is not None and not plugin.transformer_cls_names_to_wrap:
        layers = {type(module).__name__ for module in model.modules() if isinstance(module, GradientCheckpointingLayer)}
        plugin.transformer_cls_names_to_wrap = sorted(layers) or None
