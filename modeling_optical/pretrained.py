"""Arguments of `from_pretrained`, and checks of the checkpoints that it loads."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

# Which files: every file of a checkpoint is found with the same ones.
HUB_ARGUMENTS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
)
# How the weights are read.
_LOADING_ARGUMENTS = (
    *HUB_ARGUMENTS,
    "adapter_kwargs",
    "adapter_name",
    "attn_implementation",
    "code_revision",
    "device_map",
    "device_mesh",
    "disable_mmap",
    "distributed_config",
    "dtype",
    "ignore_mismatched_sizes",
    "key_mapping",
    "low_cpu_mem_usage",
    "max_memory",
    "offload_buffers",
    "offload_folder",
    "offload_state_dict",
    "quantization_config",
    "strict",
    "torch_dtype",
    "tp_plan",
    "tp_size",
    "use_kernels",
    "use_safetensors",
    "variant",
    "weights_only",
)
_PROBES = 256
SETTINGS_FILES = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
SHARD_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_LARGEST_JSON = 64 * 2**20
_IMPLEMENTATION = re.compile(r"[\w|]*")
_DEPTHS = {"num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers"}
_DEEPEST = 1000
_MOST_LABELS = 100_000
_LARGEST = {"config.json": 20_000_000}  # longest context and largest vocabulary of published models: 10 million


def hub_arguments(given: Mapping[str, Any], *, elsewhere: bool = False) -> dict[str, Any]:
    """Those of the arguments of `from_pretrained` that say where files are, for everything else that is read from there.

    Args:
        given: the arguments.
        elsewhere: for another repository: without what belongs to this one.
    """
    own = ("revision", "subfolder", "trust_remote_code") if elsewhere else ()
    return {key: given[key] for key in HUB_ARGUMENTS if given.get(key) is not None and key not in own}


def split_arguments(
    function: str, given: Mapping[str, Any], settings: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments that are settings of a configuration, and arguments of `from_pretrained`.

    Args:
        function: what took them, for the message.
        given: the arguments.
        settings: names of the settings.

    Raises:
        TypeError: for an argument that is neither.
    """
    refuse_unknown(function, set(given) - set(settings) - set(_LOADING_ARGUMENTS), (*settings, *_LOADING_ARGUMENTS))
    chosen = {key: value for key, value in given.items() if key in settings}
    return chosen, {key: value for key, value in given.items() if key not in chosen}


def refuse_unknown(function: str, unknown: Iterable[str], known: Collection[str]) -> None:
    """Rejects keyword arguments that nothing reads, and names the nearest that something does.

    Raises:
        TypeError: if there are any.
    """
    for name in sorted(unknown):
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known settings: {', '.join(sorted(known)[:60])}."
        raise TypeError(f"{function} got an unknown argument {name!r}: {hint}")


def check_weights(name: str, info: Mapping[str, Any], parts: Collection[str]) -> None:
    """Rejects a checkpoint that lacks weights of the model, or has more of a part than the model.

    Args:
        name: the checkpoint, for the message.
        info: as `from_pretrained(…, output_loading_info=True)` returns it.
        parts: names of the model's parts. Weights of anything else in the checkpoint, such as heads, do no harm.

    Raises:
        ValueError: naming some of the weights.
    """
    resized = {key[0] if isinstance(key, tuple) else key for key in info.get("mismatched_keys", ())}
    missing = sorted(key for key in set(info["missing_keys"]) - resized if "pooler" not in key.split("."))
    surplus = sorted(key for key in info["unexpected_keys"] if key.split(".")[0] in parts)
    for keys, problem in ((missing, "lacks {} weights, which would start random"), (surplus, "has {} weights too many")):
        if keys:
            some = ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
            raise ValueError(
                f"the checkpoint {name!r} {problem.format(len(keys))}: {some}. Its config.json and its weights do not belong "
                "together, or a file is incomplete: fetch or save it again. If you mean it, pass strict=False."
            )


def check_finite(name: str, model: nn.Module) -> None:
    """Rejects weights that are infinite or not numbers: they would be measured like any others.

    Raises:
        ValueError: naming the model and the tensor.
    """
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.is_meta and not bool(tensor.isfinite().all()):
            raise ValueError(
                f"model {name!r}: the tensor {key} has values that are not finite numbers, so the file is damaged or its "
                "training diverged. Fetch or train it again."
            )


def is_inside(file: str) -> bool:
    """Whether a path that a file names is a part of that file's folder, on any system."""
    windows = PureWindowsPath(file)  # knows drives and both slashes
    return not ("\0" in file or windows.is_absolute() or windows.drive or windows.root or ".." in windows.parts)


def read_json(place: Path) -> Any:
    """The content of a JSON file of a checkpoint.

    Raises:
        ValueError: if it is not JSON, or too large for settings.
    """
    if place.stat().st_size > _LARGEST_JSON:
        raise ValueError(f"{place} has more than {_LARGEST_JSON // 2**20} MiB, so it holds no settings.")
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON: {error}.") from None


def check_files(name: str | os.PathLike, given: Mapping[str, Any]) -> None:
    """Checks the settings of a checkpoint before anything is built, as `check_settings`, and where its shards are.

    Args:
        name: folder or Hub id.
        given: `hub_arguments`.

    Raises:
        ValueError: naming the file and the key. OSError: if the checkpoint cannot be reached.
    """
    for file in (*SETTINGS_FILES, *SHARD_INDEXES):
        place = cached_file(os.fspath(name), file, _raise_exceptions_for_missing_entries=False, **given)
        values = None if place is None else read_json(Path(place))
        if file in SETTINGS_FILES:
            check_settings(os.fspath(name), file, values)
        elif isinstance(values, dict) and isinstance(values.get("weight_map"), dict):
            outside = next((shard for shard in values["weight_map"].values() if not is_inside(str(shard))), None)
            if outside is not None:
                raise ValueError(f"{name!r}: {file} names {outside!r}, which is outside of it: such a checkpoint is refused.")


def check_settings(name: str, file: str, values: Any) -> None:
    """Rejects settings that make transformers read, fetch or run something else than this checkpoint, or fill the memory.

    Args:
        name: the checkpoint, for the message.
        file: one of `SETTINGS_FILES`, or its path in the checkpoint.
        values: what it holds.

    Raises:
        ValueError: naming the file and the key.
    """
    for key, value in _items(values):
        problem = _problem(key, value, _LARGEST.get(file))
        if problem is not None:
            raise ValueError(f"{name!r}: {file} has {key}={value!r:.80}, {problem}. It is not read.")


def _problem(key: str, value: Any, largest: int | None) -> str | None:
    if key.endswith(("attn_implementation", "experts_implementation")):
        implementations = value.values() if isinstance(value, dict) else [value]
        if not all(one is None or (isinstance(one, str) and _IMPLEMENTATION.fullmatch(one)) for one in implementations):
            return "which fetches and runs code of another repository; pass attn_implementation yourself if you trust it"
    if key == "use_pretrained_backbone" and value:
        return "which loads another model by name"
    if key.endswith("_file") and isinstance(value, str) and not is_inside(value):
        return "which is a file outside of the checkpoint"
    # Labels and layers are made before the weights show how many there are.
    most = _MOST_LABELS if key == "num_labels" else _DEEPEST if key in _DEPTHS else None
    if isinstance(value, int) and most is not None and value > most:
        return f"and at most {most:,} are read"
    if isinstance(value, int) and largest is not None and abs(value) > largest and "theta" not in key:
        return "which is more than any model has"
    return None


def _items(values: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield key, value
            yield from _items(value)
    elif isinstance(values, list):
        for value in values:
            yield from _items(value)


def load_tokenizer(name: str, **kwargs: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or Hub id; arguments as for `AutoTokenizer.from_pretrained`.

    Raises:
        ValueError: if it cannot be read. OSError: if the Hub cannot be reached.
    """
    kwargs.setdefault("trust_remote_code", False)  # without an answer transformers asks on the terminal
    try:
        return AutoTokenizer.from_pretrained(name, **kwargs)
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # tokenizers and transformers raise many types; each becomes one sentence
        if "trust_remote_code" in str(error):
            raise
        reason = re.sub(r"\s+", " ", str(error))
        raise ValueError(
            f"the tokenizer of {name!r} cannot be loaded ({type(error).__name__}: {reason:.200}). Save the model's tokenizer "
            "into the folder with tokenizer.save_pretrained(…)."
        ) from error


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int | None) -> None:
    """Rejects a tokenizer that cannot be the model's, or that cannot read.

    Without tokenizer files transformers makes up a tokenizer of special tokens, to which every text is the same.

    Args:
        tokenizer: the tokenizer.
        rows: of the model's embedding matrix, where it is known.

    Raises:
        ValueError: if an id lies beyond the matrix, or no word of the vocabulary comes out of the tokenizer as itself.
    """
    vocabulary = tokenizer.get_vocab()
    largest, name = max(vocabulary.values(), default=0), tokenizer.name_or_path or type(tokenizer).__name__
    if rows is not None and largest >= rows:
        raise ValueError(
            f"the tokenizer of {name!r} has ids up to {largest}, but the model's embedding matrix has {rows} rows: they are "
            "not of the same model."
        )
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special} | set(
        tokenizer.all_special_tokens
    )
    pieces = [piece for piece in vocabulary if piece not in special]
    for piece in pieces[:: max(1, len(pieces) // _PROBES)]:
        text = tokenizer.convert_tokens_to_string([piece]).strip()
        if not text:
            continue
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if any(identifier != tokenizer.unk_token_id for identifier in ids):
            return
    raise ValueError(
        f"the tokenizer of {name!r} knows no word: every text would become the same unknown tokens. transformers makes such a "
        f"tokenizer ({len(vocabulary)} tokens) of a folder without tokenizer files. Save the model's own there with "
        "tokenizer.save_pretrained(…), or save the model again with its processor."
    )
