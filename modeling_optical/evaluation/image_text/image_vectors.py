"""CLIP's vectors of images on disk, computed once."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import CLIPImageProcessorPil
from transformers.utils import logging

from ...checkpoints import resolve_model_path
from ...checkpoints.formats.clip_towers import load_image_tower
from ...encoding.batching import batched
from ...encoding.shard_folder import KeyedVectors
from ...files.fingerprint import digest_of_weights
from .image_files import ImageFiles


class ImageVectors:
    """Unit vectors of images in CLIP's joint space, in checksummed shards.

    The folder's key is the image tower (weights and the processor's settings), an image's key its file name and its signature.
    So a changed input does not get a stale vector. Shards are written under a temporary name and moved into place; a killed run
    resumes with the missing images. A shard that fails its checksum is reported, dropped and computed again.

    Args:
        folder: parent folder; each image tower gets a separate folder in it.
        model: folder or Hub id of the CLIP checkpoint, whose text tower is the teacher.
        revision: of the Hub repository.
        device: where images are encoded; None: the GPU if there is one.
        shard_size: images per shard.

    Raises:
        ValueError: if the checkpoint has no image tower. ImportError: without Pillow; says how to install it.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: str | os.PathLike,
        *,
        revision: str | None = None,
        device: str | None = None,
        shard_size: int = 512,
    ):
        try:
            import PIL  # noqa: F401
        except ImportError as error:
            raise ImportError('images need Pillow: pip install "modeling-optical[studies]"') from error
        name = resolve_model_path(model)
        hub = {"revision": revision} if revision else {}
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.tower = load_image_tower(name, **hub).to(self.device)
        # Pixels by Pillow on every machine: torchvision resizes to other values. AutoImageProcessor of transformers 5.17
        # asks for torchvision whatever the backend.
        self.processor = CLIPImageProcessorPil.from_pretrained(name, **hub)
        self.shard_size = shard_size
        self.folder = Path(folder).expanduser() / self._key()
        key = self.folder.name
        self._kept = KeyedVectors(self.folder, "image vectors", made_of=key, dim=self.dim, dtype="float32")

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def dim(self) -> int:
        """Size of a vector."""
        return self.tower.visual_projection.out_features

    def build(self, files: ImageFiles, names: Sequence[str], *, batch_size: int = 64, show_progress_bar: bool = True) -> int:
        """Computes the missing vectors.

        Args:
            files: the images.
            names: the wanted file names.
            batch_size: images per forward pass.
            show_progress_bar: whether to show progress.

        Returns:
            How many images were encoded.

        Raises:
            FileNotFoundError: naming the missing images. ValueError: for a file that is not an image. OSError: for a full disk;
                finished shards are kept.
        """
        check_images(files, names)
        wanted = set(names)
        missing = [name for name in files.names if name in wanted and self._identifier(files, name) not in self._kept]
        with logging.tqdm(total=len(missing), desc="Images", unit="image", disable=not show_progress_bar or not missing) as bar:
            for chunk in batched(missing, self.shard_size):
                vectors = torch.cat([self._encode(files, part, bar) for part in batched(chunk, batch_size)])
                self._kept.add([self._identifier(files, name) for name in chunk], list(vectors.unsqueeze(1)))
        return len(missing)

    def of(self, files: ImageFiles, names: Sequence[str]) -> torch.Tensor:
        """(images, dim) float32 unit vectors of images that `build` has seen.

        Raises:
            KeyError: for an image that was not encoded.
        """
        rows = []
        for name in names:
            found = self._kept.find(self._identifier(files, name))
            if found is None:
                raise KeyError(f"the image {name!r} was not encoded; call build() with it first.")
            shard, row = found
            rows.append(shard.document(row)[0])
        return functional.normalize(torch.stack(rows), dim=-1)

    @torch.inference_mode()
    def _encode(self, files: ImageFiles, names: Sequence[str], bar: Any) -> torch.Tensor:
        pixels = self.processor(images=[_picture(files, name) for name in names], return_tensors="pt")["pixel_values"]
        vectors = self.tower(pixel_values=pixels.to(self.device)).image_embeds.float().cpu()
        bar.update(len(names))
        return functional.normalize(vectors, dim=-1)

    def _identifier(self, files: ImageFiles, name: str) -> str:
        return f"{name}\t{files.signature(name)}"

    def _key(self) -> str:
        digest = digest_of_weights(self.tower)
        digest.update(json.dumps(self.processor.to_dict(), sort_keys=True, default=str).encode())
        return digest.hexdigest()[:20]


def check_images(files: ImageFiles, names: Sequence[str]) -> None:
    """Whether all images are there.

    Raises:
        FileNotFoundError: naming some that are not.
    """
    known = set(files.names)
    lost = [name for name in names if name not in known]
    if lost:
        raise FileNotFoundError(
            f"images {files.label}: {len(lost)} of {len(names)} are missing, such as {', '.join(lost[:3])}. (test_2017_flickr, "
            "test_2017_mscoco and test_2018_flickr have images of their own, which Flickr30k lacks.)"
        )


def _picture(files: ImageFiles, name: str) -> Any:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(files.read(name))).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} in {files.label} is not an image that can be read ({error}). Fetch it again.") from None
