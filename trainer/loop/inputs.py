"""Inputs of a trainer: accepted in several forms, or rejected with a message that names the remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, TrainingArguments
from transformers.utils import is_peft_available, logging

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.checkpoints.names import recorded_name

from .launcher_environment import check_number_of_processes

logger = logging.get_logger(__name__)

_FORMS = "a datasets.Dataset (Dataset.from_list, from_dict, from_pandas), a list of rows, or a datasets.IterableDataset"


def checked_arguments(args: Any, expected: type[TrainingArguments]) -> Any:
    """The trainer's arguments; the defaults in `tmp_trainer` for None, as in transformers.

    Raises:
        TypeError: for arguments of another class. ValueError: for an option that the trainer cannot follow, or if a launcher
            started several processes that do not see each other.
    """
    if args is None:
        logger.info("No arguments were given: output_dir is tmp_trainer.")
        args = expected(output_dir="tmp_trainer")
    if not isinstance(args, expected):
        raise TypeError(
            f"args is a {type(args).__name__}: give {expected.__name__}(…). It takes the same values, adds objectives and "
            f"more, and has other defaults (learning_rate={expected.learning_rate})."
        )
    check_number_of_processes(args.world_size, os.environ)
    if args.remove_unused_columns:
        raise ValueError("remove_unused_columns must be False: the collator reads the texts.")
    if args.label_smoothing_factor:
        raise ValueError("label_smoothing_factor has no effect here, because there are no labels to smooth: leave it out.")
    return args


def check_keywords(kwargs: Mapping[str, Any]) -> None:
    """Rejects arguments of `transformers.Trainer` that a sum of objectives cannot use."""
    if kwargs.get("compute_loss_func") is not None:
        raise ValueError(
            "compute_loss_func is not used: the loss is the weighted sum of `objectives` in the arguments. For another loss, "
            "override compute_loss in a subclass of the trainer."
        )


def checked_processor(processor: Any) -> Any:
    """The processor; rejects a plain tokenizer, which knows neither markers nor lengths."""
    if isinstance(processor, PreTrainedTokenizerBase):
        raise TypeError(
            f"processing_class is a tokenizer ({type(processor).__name__}): leave it out, so that the model's own processor is "
            "used, or give an OpticalProcessor."
        )
    return processor


def data_sets_of(given: Any) -> list[Any]:
    """The evaluation sets: one, or several by name."""
    return list(given.values()) if isinstance(given, Mapping) else [given]


def as_data_set(
    given: Any, name: str, needed: Sequence[str], advice: str, columns: Mapping[str, str] | None = None
) -> datasets.Dataset | datasets.IterableDataset:
    """Rows in one of the forms that people have them in, as a data set with the columns that the trainer reads.

    Args:
        given: a `datasets.Dataset` or `IterableDataset`, a list of rows, a mapping of columns, or a map-style torch data set.
        name: of the argument, for messages.
        needed: columns that must be there.
        advice: ends the message about a missing column.
        columns: name here to name in the data, for columns that are called otherwise.

    Raises:
        TypeError: for another form. ValueError: for a missing column.
    """
    if isinstance(given, Mapping):
        if any(isinstance(value, (datasets.Dataset, datasets.IterableDataset)) for value in given.values()):
            raise TypeError(
                f"{name} holds several data sets ({', '.join(map(str, given))}): give one of them, or "
                "datasets.concatenate_datasets([…]). Only eval_dataset may be a mapping of data sets."
            )
        given = datasets.Dataset.from_dict(dict(given))
    elif isinstance(given, (list, tuple)) and all(isinstance(row, Mapping) for row in given):
        given = datasets.Dataset.from_list(list(given))
    elif isinstance(given, torch.utils.data.Dataset) and hasattr(given, "__len__"):
        given = datasets.Dataset.from_list([given[index] for index in range(len(given))])
    elif not isinstance(given, (datasets.Dataset, datasets.IterableDataset)):
        raise TypeError(f"{name} is a {type(given).__name__}: give {_FORMS}.")
    there = given.column_names or list(next(iter(given.take(1)), dict.fromkeys(needed)))
    if columns:
        given, there = _renamed(given, there, name, columns)
    missing = [column for column in needed if column not in there]
    if missing:
        raise ValueError(
            f"{name} lacks the column {missing[0]!r} (it has: {', '.join(map(str, there)) or 'none'}). Name yours with "
            f"columns={{{missing[0]!r}: …}}; {advice}"
        )
    return given


def _renamed(given: Any, there: Sequence[str], name: str, columns: Mapping[str, str]) -> tuple[Any, list[str]]:
    unknown = [theirs for theirs in columns.values() if theirs not in there]
    if unknown:
        raise ValueError(f"columns names {unknown[0]!r}, which {name} lacks (it has: {', '.join(there)}).")
    names = {theirs: ours for ours, theirs in columns.items() if theirs != ours}
    given = given.remove_columns([column for column in there if column in names.values() and column not in names])
    return given.rename_columns(names), [names.get(column, column) for column in there]


def late_interaction_model(given: Any, name: str, model_class: type[OpticalModel] = OpticalModel) -> Any:
    """A late-interaction model: loaded from a path, or the one that is given, also inside PEFT's wrapper.

    Args:
        given: the path or the model.
        name: of the argument, for messages.
        model_class: of a loaded model.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(given, (str, os.PathLike)):
        return load_checkpoint(given, model_class=model_class)
    inner = inner_model(given)
    # By name: what trust_remote_code loads is a copy of the class.
    if not any(own.__name__ == OpticalModel.__name__ for own in type(inner).__mro__):
        raise TypeError(
            f"{name} is a {type(inner).__name__}: give a late-interaction model, for instance load_checkpoint(PATH), or the "
            "path itself."
        )
    return given


def inner_model(model: Any) -> Any:
    """The model inside `torch.compile` and PEFT's wrapper; the model itself where there is neither."""
    model = getattr(model, "_orig_mod", model)
    return model.get_base_model() if is_peft_model(model) else model


def is_peft_model(model: Any) -> bool:
    """Whether a model is in PEFT's wrapper, as `get_peft_model` returns it."""
    if not is_peft_available():
        return False
    from peft import PeftModel

    return isinstance(model, PeftModel)


def check_adapter(model: Any) -> bool:
    """Whether a model has an adapter, which alone is trained and saved; it then names its base so that any folder finds it.

    Raises:
        ValueError: if its base model is saved nowhere, so that the adapter could not be loaded again.
    """
    inner = inner_model(model)
    if not is_peft_model(model) and not getattr(inner, "_hf_peft_config_loaded", False):
        return False
    name = inner.config._name_or_path
    if not name or PreTrainedConfig.get_config_dict(name)[0].get("model_type") != inner.config.model_type:
        raise ValueError(
            "the adapter's base model is saved nowhere, and without it the adapter cannot be loaded again: call "
            "base.save_pretrained(FOLDER), load the base from that folder, and add the adapter then."
        )
    adapters = model.peft_config if is_peft_model(model) else inner.peft_config
    for adapter in adapters.values():
        adapter.base_model_name_or_path = recorded_name(name)  # found from any folder
    return True


def whole(rows: Any) -> Any:
    """All rows of a data loader's data set, also of one that several processes read in parts, or that is a stream."""
    while not isinstance(rows, (datasets.Dataset, datasets.IterableDataset)) and hasattr(rows, "dataset"):
        rows = rows.dataset
    return datasets.Dataset.from_list(list(rows)) if isinstance(rows, datasets.IterableDataset) else rows
