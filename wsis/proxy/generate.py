"""Raw proxy masks of a training set in one file, written image by image; an interrupted writing continues.

The file is JSON lines, compressed where its name ends in .gz. The first line says what made it:
    {"proxies": 1, "made_by": {...}, "images": N, "ids": 16 hex digits of the N image ids}
and each of the other N is an image, in the order of the ids:
    {"image_id", "file_name", "height", "width", "objects": [{"annotation_id", "category_id",
     "bbox": [x, y, width, height], "rle": {"size": [h, w], "counts": str}, "certainty": in [0, 1] or null}]}
`certainty` is mean |2p - 1| of the network's probabilities. A crowd region ("iscrowd": 1) has no rle.
While it is written the file is <name>.part, uncompressed, with checksums (wsis.growing). Memory holds one
image, whatever their number.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from wsis.checksums import fault, sealed, verify
from wsis.errors import WsisError
from wsis.evaluation.rle import check_pixels, check_size, decode_runs
from wsis.growing import bodies, growing
from wsis.progress import Progress

VERSION = 1
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, ValueError)


def write_proxies(
    path: Path,
    ids: Sequence[int],
    images: Callable[[Sequence[int]], Iterable[dict[str, Any]]],
    made_by: dict[str, Any],
    title: str = "proxy",
    show: bool = True,
) -> int:
    """Write the raw masks of the images `ids` to `path`; returns how many images were made now.

    images:  given the ids that are left, yields their lines' content in that order (RLE counts may be bytes)
    made_by: JSON content that tells the network, such as its run id and the digest of its weights. A file of
             the same network and ids is finished or continued, one of another is replaced.

    Raises WsisError naming the image and object whose mask, box or certainty is impossible, or the image
    that was not yielded; what was written before it is kept for the next call.
    """
    path, ids = Path(path), [int(id) for id in ids]
    digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]
    head = {"proxies": VERSION, "made_by": made_by, "images": len(ids), "ids": digest}
    head = json.loads(json.dumps(head))  # as it is read again
    if path.exists() and _first_line(path) == head and fault(path) is None:
        return 0
    part = path.with_name(f"{path.name}.part")
    with growing(part, head) as file:
        done = file.lines
        if done and show:
            print(f"{title}: continues after {done} of {len(ids)} images", file=sys.stderr, flush=True)
        left = ids[done:]
        with Progress(f"{title}: images", len(ids), done, show) as progress:
            lines = iter(images(left) if left else ())
            for count, id in enumerate(left, done + 1):
                image = next(lines, None)
                if image is None or image.get("image_id") != id:
                    got = "nothing" if image is None else f"image {image.get('image_id')}"
                    raise WsisError(f"{part}: expected the masks of image {id}, got {got}")
                file.add(_checked(image))
                progress.update(count)
        file.sync()
    _finish(part, path)
    return len(left)


def read_proxies(*paths: Path) -> Iterator[dict[str, Any]]:
    """The images of one file, or of several of the same network, in order.

    Raises WsisError for a missing, damaged or half-written file, one that is no proxy file, or files of two
    networks; without a checksum, a file that is cut short is known at its end only.
    """
    for path in paths:
        verify(path)
    heads = {path: read_head(path) for path in paths}
    for path, head in heads.items():
        if head["made_by"] != heads[paths[0]]["made_by"]:
            raise WsisError(f"{path}: not made by the network of {paths[0]}; generate both again")
    for path, head in heads.items():
        count = 0
        try:
            with _open(path) as file:
                next(file)
                for count, line in enumerate(file, 1):  # noqa: B007
                    yield _object(line)
        except _DAMAGED as error:
            raise _cut_short(path, count, head, f" ({error})") from None
        if count != head["images"]:
            raise _cut_short(path, count, head)


def read_head(path: Path) -> dict[str, Any]:
    """The first line of a finished file. Raises WsisError where there is none."""
    path = Path(path)
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        state = f"half-written ({part.name}): generate again to continue" if part.exists() else "no such file"
        raise WsisError(f"{path}: {state}")
    head = _first_line(path)
    if head is None or head.get("proxies") != VERSION:
        raise WsisError(f"{path}: no file of proxy masks of version {VERSION}; generate it again")
    return head


def _checked(image: dict[str, Any]) -> dict[str, Any]:
    """The image as it is written, counts as text. What pycocotools would misread is refused."""
    where = f"proxy masks of image {image['image_id']}"
    try:
        size = (int(image["height"]), int(image["width"]))
        entries = [_checked_object(entry, size, where) for entry in image["objects"]]
        head = {"image_id": image["image_id"], "file_name": str(image["file_name"])}
    except KeyError as error:
        raise WsisError(f"{where}: {error} is missing") from None
    return {**head, "height": size[0], "width": size[1], "objects": entries}


def _checked_object(entry: dict[str, Any], size: tuple[int, int], where: str) -> dict[str, Any]:
    where = f"{where}, annotation {entry['annotation_id']}"
    bbox = [float(value) for value in entry["bbox"]]
    if len(bbox) != 4 or not all(math.isfinite(value) for value in bbox) or min(bbox[2:]) < 0:
        raise WsisError(f"{where}: bbox {bbox} is not [x, y, width, height]")
    kept = {"annotation_id": entry["annotation_id"], "category_id": entry["category_id"], "bbox": bbox}
    if entry.get("iscrowd"):
        return {**kept, "iscrowd": 1}
    certainty = entry.get("certainty")
    if certainty is not None and not 0 <= (certainty := float(certainty)) <= 1:
        raise WsisError(f"{where}: certainty {certainty} is not in [0, 1]; the weights may not be finite")
    rle = {"size": [int(side) for side in entry["rle"]["size"]], "counts": entry["rle"]["counts"]}
    try:
        check_size(rle["size"], size)
        check_pixels(decode_runs(rle["counts"]), size)
    except ValueError as error:
        raise WsisError(f"{where}: {error}") from None
    if not isinstance(rle["counts"], str):
        rle["counts"] = rle["counts"].decode("ascii")
    return {**kept, "rle": rle, "certainty": certainty}


def _finish(part: Path, path: Path) -> None:
    """Give a whole .part file its name and a checksum, compressed on the way where the name asks for it."""
    with sealed(path) as file:
        if path.suffix != ".gz":
            file.writelines(bodies(part))
        else:
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as target:
                target.writelines(bodies(part))
    part.unlink()


def _first_line(path: Path) -> dict[str, Any] | None:
    try:
        with _open(path) as file:
            return _object(next(file, ""))
    except _DAMAGED:
        return None


def _object(line: str) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, not {line[:40]!r}")
    return content


def _cut_short(path: Path, count: int, head: dict[str, Any], why: str = "") -> WsisError:
    return WsisError(f"{path}: holds {count} of {head['images']} images{why}; delete and generate it again")


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")
