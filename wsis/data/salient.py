"""Salient roots: images with one mask each, and the rule that keeps those with one object (DUTS-Single).

<root>/images, masks  or  <root>/DUTS-TR-Image, DUTS-TR-Mask: files of equal stem, grey or colour
<root>/train.txt      names without suffix, one a line; optional

A listed root is used as listed: the list is somebody's decision. Without a list every image takes part whose
mask, binarised, has exactly one 8-connected component larger than 1 % of the image. The paper's DUTS-Single
are 7991 images of DUTS-TR with one object (BoxCaseg, Sec. 4). Neither its list nor its rule is public: this
rule is ours, and keeps another number of images.
h x w: original size.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wsis.data.pixels import eight_bit, opened
from wsis.data.voc import listed_names
from wsis.errors import WsisError
from wsis.files import read_json, write_json

FOLDERS = (("images", "masks"), ("DUTS-TR-Image", "DUTS-TR-Mask"))
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
RULE = "one 8-connected component above 1 % of the image, after mask > 0.5"
READERS = 4  # threads
SHARE = 0.01  # of the image; smaller components don't count as objects


@dataclass(frozen=True)
class SalientRoot:
    """An opened salient root, as `open_salient` returns it.

    names: of the images in use, in the list's order, or sorted
    pairs: (image, mask) of each
    """

    path: Path
    names: tuple[str, ...]
    pairs: tuple[tuple[Path, Path], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def fingerprint(self) -> str:
        """10 hex digits of the names and the masks' files; image files are not read."""
        digest = hashlib.sha256()
        for name, (_, mask) in zip(self.names, self.pairs, strict=True):
            digest.update(name.encode() + b"\n" + mask.read_bytes())
        return digest.hexdigest()[:10]


def open_salient(path: Path, cache: Path | None = None) -> SalientRoot:
    """Open the images that train.txt lists; without that file, those that the rule of one object keeps.

    cache: folder that keeps the rule's listing, so that the masks are read once; None: read them each time.
    Raises WsisError naming what is missing: the folders, the list, an image or a mask; or where none is left.
    """
    path = Path(path)
    folders = salient_folders(path)
    if folders is None:
        raise WsisError(
            f"{path}: not a salient root; it needs images/ and masks/ (or DUTS-TR-Image/ and DUTS-TR-Mask/)"
        )
    images, masks = (files_by_name(folder) for folder in folders)
    listing = path / "train.txt"
    names = list(dict.fromkeys(listed_names(listing))) if listing.exists() else sorted(images)
    for name in names:
        for files, folder in zip((images, masks), folders, strict=True):
            if name not in files:
                raise WsisError(f"{folder / name}.*: missing; run `wsis data check {path}`")
    pairs = [(images[name], masks[name]) for name in names]
    listed = len(names)
    if not listing.exists() and names:
        kept = _single(path, names, [mask for _, mask in pairs], cache)
        pairs = [pair for pair, keep in zip(pairs, kept, strict=True) if keep]
        names = [name for name, keep in zip(names, kept, strict=True) if keep]
    if not names:
        left = f"none of its {listed} masks has {RULE}" if listed else "it lists no image"
        raise WsisError(f"{path}: {left}; give a root of images with one salient object each")
    return SalientRoot(path.resolve(), tuple(names), tuple(pairs))


def given(salient: SalientRoot | None) -> SalientRoot:
    """The salient images of a training that needs some; WsisError where there are none."""
    if salient is None or not len(salient):
        raise WsisError(
            "data.supervision 'boxes+salient' needs salient images: give their root (salient=PATH), or"
            " for `shapes` a data.shapes.salient_images above 0"
        )
    return salient


def salient_folders(path: Path) -> tuple[Path, Path] | None:
    """Folders of images and of masks; None where `path` is no salient root."""
    for images, masks in FOLDERS:
        if (path / images).is_dir() and (path / masks).is_dir():
            return path / images, path / masks
    return None


def files_by_name(folder: Path) -> dict[str, Path]:
    """Image files by name without suffix, sorted."""
    return {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES}


def read_mask(path: Path) -> np.ndarray:
    """h x w float32 in [0, 1]: the mask's grey values over their largest, soft where the file is; or all 0.

    Raises WsisError where the file is missing or can't be decoded.
    """
    with opened(path, "mask") as file:
        values = eight_bit(file, "L").astype(np.float32)
    return values / max(values.max(initial=0), 1)


def has_one_object(mask: np.ndarray) -> bool:
    """The rule of DUTS-Single (RULE) for an h x w mask in [0, 1]."""
    from scipy import ndimage  # slow to import, and a listed root has no use for it

    components, _ = ndimage.label(mask > 0.5, np.ones((3, 3)))
    areas = np.bincount(components.ravel())[1:]
    return int((areas > SHARE * mask.size).sum()) == 1


def _single(path: Path, names: list[str], masks: list[Path], cache: Path | None) -> list[bool]:
    """Whether each image has one object. A listing in `cache` is valid while names, sizes and times are."""
    digest = hashlib.sha256(f"{path.resolve()} {RULE}".encode())
    for name, mask in zip(names, masks, strict=True):
        stat = mask.stat()
        digest.update(f"\n{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    file = None if cache is None else Path(cache) / f"single_{path.name}_{digest.hexdigest()[:10]}.json"
    if file is not None:
        with suppress(WsisError, KeyError, TypeError):  # no listing yet, or none that can be read
            kept = set(read_json(file)["names"])
            return [name in kept for name in names]
    with ThreadPoolExecutor(READERS) as pool:
        single = list(pool.map(lambda mask: has_one_object(read_mask(mask)), masks))
    if file is not None:
        listed = [name for name, one in zip(names, single, strict=True) if one]
        with suppress(WsisError):  # where the folder can't be written to, the masks are read again next time
            write_json(file, {"rule": RULE, "of": len(names), "count": len(listed), "names": listed})
    return single
