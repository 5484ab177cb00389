"""The stages of a backbone that isn't trained, image by image, kept on disk while a run needs them.

What it says of an image depends on nothing but the pixels: each image is computed alone, padded to the
backbone's multiple, and its stages are rounded to float16. Kept or computed anew, they are the same numbers.
They are kept under a digest of the pixels, so that flips, sizes and crops are told apart.

Shapes: B images, H x W network input (multiples of MULTIPLE), h x w one image without padding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.checksums import fault, sealed
from wsis.nn.backbones import MULTIPLE

LIMIT = 4 * 2**30  # bytes of kept features; further images are computed each time
Size = tuple[int, int]


class FrozenStages(nn.Module):
    """A backbone's stages without gradients; `channels` are those of its stages that are read."""

    def __init__(
        self, body: nn.Module, read: Collection[str], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """body: normalised images -> stages by name. read: the names of those that anybody reads."""
        super().__init__()
        self.body = body.requires_grad_(False)
        self.channels = {name: body.channels[name] for name in body.channels if name in read}
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        self.folder: Path | None = None
        self.size = 0  # bytes in the folder
        self.looked: set[Path] = set()  # files that are as they were written
        self.train(False)

    def train(self, mode: bool = True) -> FrozenStages:
        """It keeps to its running statistics."""
        return super().train(False)

    def keep(self, folder: Path) -> None:
        """Keep features below `folder`, under a digest of weights and normalisation; use what is there."""
        digest = hashlib.sha256()
        for name, value in sorted((self.state_dict() | dict(self.named_buffers())).items()):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        self.folder = folder / digest.hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.size = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @torch.no_grad()
    def forward(self, images: Tensor, sizes: Sequence[Size] | None = None) -> dict[str, Tensor]:
        """B x 3 x H x W uint8 -> stages by name, B x C x H/s x W/s float32, zero outside of the images.

        sizes: (h, w) of each image without its padding; None: there is none.
        """
        height, width = images.shape[-2:]
        sizes = sizes or [(height, width)] * len(images)
        each = [self.of_image(image[:, :h, :w]) for image, (h, w) in zip(images, sizes, strict=True)]
        stages = {}
        for name in self.channels:
            stride = (sizes[0][0] + -sizes[0][0] % MULTIPLE) // each[0][name].shape[1]
            full = images.new_zeros(len(images), len(each[0][name]), height // stride, width // stride)
            stages[name] = full.float()
            for slot, one in zip(stages[name], each, strict=True):
                slot[:, : one[name].shape[1], : one[name].shape[2]] = one[name]
        return stages

    def of_image(self, image: Tensor) -> dict[str, Tensor]:
        """3 x h x w uint8 -> stages by name, C x h'/s x w'/s float16, h' and w' the next multiples."""
        path = None if self.folder is None else self.folder / f"{key_of(image)}.safetensors"
        if path is not None and self._whole(path):
            return safetensors.torch.load_file(path)
        height, width = image.shape[1:]
        pixels = (image.float() - self.mean) / self.std
        pixels = F.pad(pixels, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        stages = {
            name: x[0].half().contiguous()
            for name, x in self.body(pixels[None]).items()
            if name in self.channels
        }
        if path is not None and self.size < LIMIT:
            content = safetensors.torch.save({name: x.cpu() for name, x in stages.items()})
            with sealed(path) as file:
                file.write(content)
            self.size += len(content)
        return stages

    def _whole(self, path: Path) -> bool:
        """Whether stages are kept in a file as they were written, which this process looks at once."""
        if path not in self.looked and path.exists() and fault(path) is None:
            self.looked.add(path)
        return path in self.looked


def key_of(image: Tensor) -> str:
    """Digest of an image's size and pixels."""
    digest = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    digest.update(image.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
