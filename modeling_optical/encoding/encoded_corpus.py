"""An encoded corpus: token vectors of any number of documents in checksummed shards, made by one process or several."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from ..checkpoints.names import recorded_name
from ..files.atomic_write import write_text
from ..files.fingerprint import model_fingerprint
from ..files.lines import parse_json
from ..files.lock import LOCK_FILE, locked
from ..text_encoding import TextEncoder
from .batching import batched
from .corpus import CorpusSource, CorpusStream
from .normal_forms import is_blank
from .shard_folder import ShardFolder
from .token_pooling import check_pool_factor, pool_tokens
from .vector_shards import ShardDescription, VectorShard, check_storage_type, is_count

logger = logging.get_logger(__name__)

_FORMAT = 1
_PAUSE = 0.1  # seconds between two looks at what other processes write


@dataclass(frozen=True)
class Encoder:
    """The encoder of vectors, as stored with them.

    Attributes:
        name: the model's folder (its whole path), Hub id or `package:NAME/PATH`.
        dim: size of a token vector.
        fingerprint: of weights, settings and tokenizer (`model_fingerprint`); None for vectors made elsewhere.
        pool_factor: token pooling, None for none.
    """

    name: str
    dim: int
    fingerprint: str | None = None
    pool_factor: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not (self.fingerprint is None or isinstance(self.fingerprint, str)):
            raise ValueError(f"an encoder's name and fingerprint are texts, not {self.name!r} and {self.fingerprint!r}")
        if not is_count(self.dim) or not self.dim:
            raise ValueError(f"an encoder's dim is {self.dim!r}; a whole number above 0 is needed")
        check_pool_factor(self.pool_factor)

    @classmethod
    def read(cls, values: Any) -> Encoder:
        """From JSON.

        Raises:
            ValueError: if it is none.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"name", "dim"} <= values.keys() <= known:
            raise ValueError("an encoder needs name and dim, and perhaps fingerprint and pool_factor")
        return cls(**values)

    def same(self, other: Encoder) -> bool:
        """Whether vectors of both lie in one space, as far as is known."""
        known = None not in (self.fingerprint, other.fingerprint)
        return (self.dim, self.pool_factor) == (other.dim, other.pool_factor) and (
            not known or self.fingerprint == other.fingerprint
        )

    @classmethod
    def of(cls, model: TextEncoder, kind: str = "document", pool_factor: int | None = None) -> Encoder:
        """The encoder that a loaded model is."""
        name = recorded_name(model.config._name_or_path or type(model).__name__)
        return cls(name, model.config.vector_dim, model_fingerprint(model, kind), pool_factor)

    def __str__(self) -> str:
        known = f", fingerprint {self.fingerprint[:12]}" if self.fingerprint else ""
        return f"{self.name} (dimension {self.dim}{known})"


def encode_corpus(
    model: TextEncoder,
    documents: CorpusSource,
    path: str | os.PathLike,
    *,
    kind: str = "document",
    dtype: str = "float16",
    pool_factor: int | None = None,
    shard_size: int = 1024,
    batch_size: int = 32,
    rank: int = 0,
    num_processes: int = 1,
    show_progress_bar: bool = True,
    name: str | None = None,
) -> EncodedCorpus:
    """Encodes a corpus shard by shard. After a crash, a second call encodes the missing shards and ends with the same bytes.

    Every process reads the whole stream of texts and encodes each `num_processes`-th shard. The first one waits until the
    others' shards are this corpus's and writes the manifest, for which the others wait. Within a shard, texts of similar length
    share a batch; in the file they keep the corpus's order.

    Args:
        model: encodes, on the device where it is.
        documents: the corpus, see `CorpusStream`. It is read once.
        path: folder of the encoded corpus; made if needed.
        kind: `"document"` or `"query"`.
        dtype: stored as `"float16"`, `"int8"` or `"float32"`.
        pool_factor: 2 to 4 for token pooling, None for every token.
        shard_size: documents per shard.
        batch_size: documents per forward pass.
        rank, num_processes: number of this process, and how many there are.
        show_progress_bar: whether the first process shows progress.
        name: of the encoder in the manifest; by default the model's folder or Hub id.

    Returns:
        The encoded corpus.

    Raises:
        ValueError: for a bad document (the message names its place), another dtype or factor, or a folder that holds another
            encoding.
        OSError: if the disk is full; finished shards are kept.
    """
    check_storage_type(dtype)
    check_pool_factor(pool_factor)
    if shard_size < 1:
        raise ValueError(f"shard_size is {shard_size}; a shard holds at least one document.")
    folder = Path(path).expanduser()
    shards = ShardFolder(folder)
    encoder = Encoder.of(model, kind, pool_factor)
    if name is not None:
        encoder = Encoder(recorded_name(name), encoder.dim, encoder.fingerprint, pool_factor)
    plan = {"format": _FORMAT, "encoder": asdict(encoder), "kind": kind, "dtype": dtype, "shard_size": shard_size}
    with locked(folder) if rank == 0 else nullcontext():
        _claim(folder, plan, first=rank == 0)
        manifest = folder / "manifest.json"
        if num_processes > 1 and rank == 0:
            manifest.unlink(missing_ok=True)  # it may be that of another corpus, whose shards the others are about to replace
        longest = model.get_processor().longest(kind)
        counts = {"documents": 0, "empty": 0, "cut": 0}
        digests: dict[str, str] = {}  # name of a shard to what it is made of
        with logging.tqdm(desc="Encoding", unit="document", disable=not show_progress_bar or rank != 0) as bar:
            for chunk in batched(CorpusStream(documents), shard_size):
                number, digest = len(digests), _digest(chunk)
                name_of_shard = f"shard-{number:06d}.safetensors"
                digests[name_of_shard] = digest
                counts["documents"] += len(chunk)
                counts["empty"] += sum(is_blank(text) for _, text in chunk)
                counts["cut"] += sum(len(text.split()) > longest for _, text in chunk)
                if number % num_processes == rank and not shards.is_whole(name_of_shard, digest):
                    vectors = _encode(model, [text for _, text in chunk], kind, batch_size, pool_factor)
                    # The folder's encoding is another corpus's, or damaged: until this ends, it does not count as one.
                    manifest.unlink(missing_ok=True)
                    shards.write(name_of_shard, digest, [identifier for identifier, _ in chunk], vectors, dtype)
                bar.update(len(chunk))
        if rank == 0:
            for number, shard in enumerate(digests):
                while number % num_processes and shards.fault(shard, digests[shard]):
                    time.sleep(_PAUSE)  # another process writes it
            described = [asdict(shards.describe(shard)) for shard in digests]
            shards.keep(set(digests))
            write_text(manifest, json.dumps(plan | counts | {"shards": described}, indent=1) + "\n")
            if counts["cut"]:
                logger.warning(
                    f"at least {counts['cut']} documents have more than the {longest} tokens that the model takes; what "
                    "follows is not searched. Cut long documents into passages, or use a model with a greater document_length."
                )
        else:
            _wait_until(lambda: _describes(manifest, shards, digests))
    return EncodedCorpus(folder)


def _encode(model: TextEncoder, texts: list[str], kind: str, batch_size: int, pool_factor: int | None) -> list[np.ndarray]:
    vectors = model.encode(texts, kind, batch_size=batch_size, show_progress_bar=False)
    return vectors if pool_factor is None else [pool_tokens(array, pool_factor) for array in vectors]


def _claim(folder: Path, plan: dict[str, Any], first: bool) -> None:
    """Makes the folder this encoding's, or finds that it is."""
    place = folder / "plan.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if first and not place.exists():
            if any(path.name != LOCK_FILE for path in folder.iterdir()):
                raise ValueError(f"{folder} is not empty and holds no encoding. Name another folder.")
            write_text(place, json.dumps(plan, indent=1) + "\n")
    except OSError as error:
        raise OSError(error.errno, f"the folder {folder} cannot be written: {error.strerror}.") from error
    _wait_until(place.exists)
    there = _read_json(place)
    for key, value in plan.items():
        if there.get(key) != value:
            raise ValueError(
                f"{folder} holds an encoding with {key} = {there.get(key)!r}, not {value!r}. Name another folder, or delete it."
            )


def _digest(chunk: list[tuple[str, str]]) -> str:
    """Hash of the ids and texts of a shard."""
    digest = hashlib.sha256()
    for pair in chunk:
        for part in pair:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _read_json(place: Path) -> dict[str, Any]:
    values = parse_json(place.read_text(encoding="utf-8"), str(place))
    if not isinstance(values, dict):
        raise ValueError(f"{place} is no JSON object. Encode the corpus again.")
    return values


def _describes(manifest: Path, shards: ShardFolder, digests: Mapping[str, str]) -> bool:
    """Whether a manifest is there, and is that of the shards that are made of this."""
    if not all(path.is_file() for path in (manifest, *map(shards.record, digests))):
        return False
    if any(shards.made_of(shard) != digest for shard, digest in digests.items()):
        return False
    return _read_json(manifest)["shards"] == [asdict(shards.describe(shard)) for shard in digests]


def _wait_until(there: Callable[[], bool]) -> None:
    """Waits for what other processes write. The launcher ends all processes when one of them fails."""
    while not there():
        time.sleep(_PAUSE)


class EncodedCorpus:
    """Token vectors of a corpus on disk, mapped into memory shard by shard.

    Iterating gives `(id, vectors)` with vectors (tokens, dim), float32, in the corpus's order.

    Args:
        path: the folder that `encode_corpus` wrote.

    Attributes:
        encoder: who made the vectors.
        dtype: as stored.
        shards: descriptions of the files.

    Raises:
        FileNotFoundError: if there is no manifest; `encode_corpus` resumes an interrupted encoding.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        place = self.path / "manifest.json"
        if not place.is_file():
            unfinished = (self.path / "plan.json").is_file()
            raise FileNotFoundError(
                f"{self.path} "
                + ("holds an unfinished encoding: encode the same corpus again, it goes on." if unfinished
                   else "holds no encoded corpus: manifest.json is missing.")
            )  # fmt: skip
        manifest = _read_json(place)
        if manifest.get("format") != _FORMAT:
            raise ValueError(f"{place}: format {manifest.get('format')!r} is not known to this version; encode again.")
        try:
            self.encoder = Encoder.read(manifest["encoder"])
            self.dtype: str = manifest["dtype"]
            check_storage_type(self.dtype)
            self.kind: str = manifest["kind"]
            self.shards = [ShardDescription.read(shard) for shard in manifest["shards"]]
            self._count: int = manifest["documents"]
            if self._count != sum(shard.documents for shard in self.shards):
                raise ValueError("its shards have another number of documents")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place} cannot be read ({type(error).__name__}: {error}). Encode the corpus again.") from None

    def __len__(self) -> int:
        return self._count

    @property
    def tokens(self) -> int:
        """Vectors in all."""
        return sum(shard.tokens for shard in self.shards)

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for description in self.shards:
            shard = VectorShard(self.path / description.file)
            shard.check(description, self.encoder.dim, self.dtype)
            for row, identifier in enumerate(shard.identifiers()):
                yield identifier, shard.document(row).numpy()

    def ids(self) -> Iterator[str]:
        """Ids in the corpus's order."""
        for description in self.shards:
            yield from VectorShard(self.path / description.file).identifiers()

    def vectors(self) -> Iterator[np.ndarray]:
        """Vectors (tokens, dim) of each document in the corpus's order."""
        for _, array in self:
            yield array

    def texts_of(self, corpus: CorpusSource) -> Iterator[str]:
        """The text of each document, in order, out of the corpus that was encoded.

        Raises:
            ValueError: at the first shard that was made of other documents than the corpus has.
        """
        documents, folder = iter(CorpusStream(corpus)), ShardFolder(self.path)
        for description in self.shards:
            chunk = list(islice(documents, description.documents))
            ids = VectorShard(self.path / description.file).identifiers()
            known = folder.record(description.file).is_file()
            made_of = folder.made_of(description.file) if known else _digest(chunk)
            if [identifier for identifier, _ in chunk] != ids or made_of != _digest(chunk):
                raise ValueError(
                    f"{self.path} was encoded from another corpus: the documents of {description.file} ({ids[:1]} …) differ. "
                    "Give the corpus that was encoded, or encode this one."
                )
            yield from (text for _, text in chunk)
        if next(documents, None) is not None:
            raise ValueError(f"{self.path} was encoded from a shorter corpus, of {len(self)} documents. Encode this one.")

    def verify(self) -> None:
        """Compares every shard with its checksum.

        Raises:
            ValueError: naming the shards that differ; `encode_corpus` makes them again.
        """
        folder = ShardFolder(self.path)
        damaged = [shard.file for shard in self.shards if folder.differs(shard)]
        if damaged:
            raise ValueError(
                f"{self.path}: {', '.join(damaged)} missing or damaged. Encode the same corpus into the same folder again: "
                "only these are made anew."
            )
