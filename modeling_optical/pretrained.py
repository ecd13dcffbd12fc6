"""What `from_pretrained` takes, and what it must find."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

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
    """Refuses keyword arguments that nothing reads, and names the nearest that something does.

    Raises:
        TypeError: if there are any.
    """
    for name in sorted(unknown):
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known settings: {', '.join(sorted(known)[:60])}."
        raise TypeError(f"{function} got an unknown argument {name!r}: {hint}")


def check_weights(name: str, info: Mapping[str, Any], parts: Collection[str]) -> None:
    """Refuses a checkpoint that lacks weights of the model, or has more of a part than the model.

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
    """Refuses a tokenizer that cannot be the model's, or that cannot read.

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
