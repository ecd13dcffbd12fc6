"""The files of a checkpoint, in a folder or on the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import cached_file

from ..pretrained import hub_arguments, is_inside, read_json
from .names import meant_package


class CheckpointFiles:
    """Reads single files of a checkpoint.

    Args:
        name: what the user called it, for messages.
        path: folder or Hub id.
        given: what `from_pretrained` was given; all files are read with its revision, token, subfolder …
    """

    def __init__(self, name: str, path: str, given: dict[str, Any]):
        self.name = name
        self.path = path
        self.given = hub_arguments(given)

    def inside(self, folder: str) -> dict[str, str]:
        """The `subfolder` argument that finds a folder of the checkpoint, which may lie in a subfolder itself."""
        inside = "/".join(part for part in (self.given.get("subfolder"), folder) if part)
        return {"subfolder": inside} if inside else {}

    def find(self, file: str) -> Path | None:
        """Where a file is, fetched if need be; None if the checkpoint has none.

        Raises:
            FileNotFoundError: if the name is neither a folder here nor a repository that can be reached.
            ValueError: for a name that leads out of the checkpoint.
            ConnectionError: if the Hub refuses for the moment.
        """
        self.check_inside(file)
        if os.path.isdir(self.path):
            place = Path(self.path, self.given.get("subfolder", ""), file)
            return place if place.is_file() else None
        try:
            found = cached_file(self.path, file, _raise_exceptions_for_missing_entries=False, **self.given)
        except (OSError, hub_errors.HfHubHTTPError) as error:
            status = _http_status(error)
            if status is not None and (status == 429 or status >= 500):
                raise ConnectionError(
                    f"the Hub answered {status} when asked for {file} of {self.name!r}"
                    + (" (too many requests)" if status == 429 else " (its own trouble)")
                    + ". Wait a little and start again: what was fetched is kept. Or give a folder."
                ) from error
            raise self.missing(type(error).__name__) from error
        return None if found is None else Path(found)

    def check_inside(self, file: str) -> None:
        """Rejects a file or folder, as a checkpoint's own files name it, that is not a part of the checkpoint.

        Raises:
            ValueError: then.
        """
        if not is_inside(file):
            raise ValueError(f"{self.name!r} names the file {file!r}, which is outside of it: such a checkpoint is refused.")

    def modules(self) -> list[tuple[str, str]]:
        """Class and folder of each module of `modules.json`, in order; none if there is no such file.

        Raises:
            ValueError: for an entry without a class, or with a folder outside of the checkpoint.
        """
        found = []
        for number, module in enumerate(self.json_list("modules.json")):
            kind, path = (module.get("type"), module.get("path", "")) if isinstance(module, dict) else (None, None)
            if not isinstance(kind, str) or not isinstance(path, str):
                raise ValueError(
                    f"{self.name!r}: entry {number} of modules.json needs texts `type` and `path`; it is {module!r:.80}."
                )
            self.check_inside(path)
            found.append((kind, path))
        return found

    def missing(self, why: str) -> FileNotFoundError:
        """The error of a name that stands for nothing that can be reached."""
        meant = meant_package(self.name)
        return FileNotFoundError(
            f"model {self.name!r} is neither a folder here nor to be had from the Hub ({why}). "
            + (f"Did you mean {meant}?" if meant else "Check the name and the network, or give a folder.")
        )

    def json(self, file: str) -> dict[str, Any] | None:
        """A JSON object, or None if there is no such file.

        Raises:
            ValueError: if the file is not a JSON object.
        """
        place = self.find(file)
        if place is None:
            return None
        values = read_json(place)
        if not isinstance(values, dict):
            raise ValueError(f"{place} is not a JSON object.")
        return values

    def json_list(self, file: str) -> list[Any]:
        """A JSON list; an empty one if there is no such file."""
        place = self.find(file)
        values = [] if place is None else read_json(place)
        if not isinstance(values, list):
            raise ValueError(f"{place} is not a JSON list.")
        return values

    def shards(self, file: str) -> dict[str, str] | None:
        """File of each tensor, by an index of weight files; None if there is no such index.

        Raises:
            ValueError: if it has no `weight_map`, or names a file outside of the checkpoint.
        """
        index = self.json(file)
        if index is None:
            return None
        shards = index.get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise ValueError(f"{self.name!r}: {file} has no `weight_map` of tensors to files.")
        for shard in set(shards.values()):
            self.check_inside(shard)
        return shards

    def weights(self, folder: str = "", keys: tuple[str, ...] | None = None) -> dict[str, torch.Tensor]:
        """Tensors of a small or single-file checkpoint: safetensors first, else a pickle that holds tensors alone.

        Args:
            folder: inside the checkpoint.
            keys: the tensors to read; None reads all.

        Raises:
            ValueError: if there are no weights, the file is damaged, or a pickle holds more than tensors.
        """
        prefix = f"{folder}/" if folder else ""
        shards = self.shards(f"{prefix}model.safetensors.index.json")
        if shards is not None:
            wanted = sorted({shards[key] for key in keys or shards if key in shards})
            places = [self.find(prefix + shard) for shard in wanted]
            if None in places:
                raise ValueError(f"{self.name!r} lacks {wanted[places.index(None)]}, which its index names: it is incomplete.")
        else:
            places = [self.find(f"{prefix}model.safetensors")]
        if all(place is not None for place in places) and places:
            tensors: dict[str, torch.Tensor] = {}
            for place in places:
                tensors |= _read(place)
        else:
            pickled = self.find(f"{prefix}pytorch_model.bin")
            if pickled is None:
                raise ValueError(
                    f"{self.name!r} has neither model.safetensors nor pytorch_model.bin in {folder or 'its root'}: "
                    "the checkpoint is incomplete."
                )
            tensors = _read(pickled)
        return tensors if keys is None else {key: tensors[key] for key in keys if key in tensors}


def _http_status(error: BaseException | None) -> int | None:
    """Status of the Hub's answer that an error, or what led to it, tells of."""
    while error is not None:
        if isinstance(error, hub_errors.HfHubHTTPError) and error.response is not None:
            return error.response.status_code
        error = error.__cause__ or error.__context__
    return None


def _read(place: Path | None) -> dict[str, torch.Tensor]:
    assert place is not None
    try:
        if place.suffix == ".safetensors":
            return load_file(place)
        return torch.load(place, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{place} is damaged ({error}). Fetch or copy it again.") from None
    except Exception as error:  # a damaged pickle raises many types
        raise ValueError(
            f"{place} is a pickle that does not load as tensors alone ({type(error).__name__}), so it may run code and is "
            "refused. Save the model as safetensors (save_pretrained does) where you trust it, and give that folder."
        ) from error
