"""Check saliency roots: every image has a mask of its size, and how many have one object."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from wsis.data.check.images import READERS, Images
from wsis.data.check.report import CheckReport, official_count
from wsis.data.check.voc import read_names
from wsis.data.official_sizes import OFFICIAL_SALIENT
from wsis.data.salient import RULE, files_by_name, has_one_object, read_mask, salient_folders
from wsis.errors import WsisError


def check_salient(root: Path, report: CheckReport, images: Images) -> None:
    """Add what is wrong with a saliency root to the report, and the count by the rule of one object."""
    folders = salient_folders(root)
    if folders is None:
        advice = "a saliency root has images/ and masks/, or DUTS-TR-Image/ and DUTS-TR-Mask/"
        for name in ("images", "masks"):
            if not (root / name).is_dir():
                report.problem("folder", root / name, "missing", advice)
        return
    files, masks = (files_by_name(folder) for folder in folders)
    listings = [root / f"{split}.txt" for split in ("train", "val") if (root / f"{split}.txt").exists()]
    listed = {listing.stem: read_names(listing, report) for listing in listings}
    everything = "train" not in listed
    names = list(dict.fromkeys(name for part in listed.values() for name in part))
    if everything:
        names += [name for name in sorted(files) if name not in set(names)]
    if not names:
        report.problem("split", root, "holds no image", "put images and masks of equal names there")
    with ThreadPoolExecutor(READERS) as pool:
        looks = dict(zip(names, pool.map(lambda name: _look(masks.get(name)), names), strict=True))
    wanted, soft, colour = [], [], []
    for name in names:
        path = masks.get(name, folders[1] / f"{name}.png")
        size, problem, is_soft, is_colour, _ = looks[name]
        wanted.append((files.get(name, folders[0] / f"{name}.jpg"), name, size))
        if problem:
            report.problem("mask", path, *problem, id=name)
        soft += [name] if is_soft else []
        colour += [name] if is_colour else []
    images.check(wanted)
    if soft:
        text = f"{len(soft)} mask(s) with values between 0 and their largest, for example {soft[0]}"
        report.note("soft", folders[1], text, "handled: they are soft labels")
    if colour:
        text = f"{len(colour)} mask(s) not of one channel, for example {colour[0]}"
        report.note("colour", folders[1], text, "handled: read as grey")
    bare = sorted(set(masks) - set(files))
    if bare:
        text = f"{len(bare)} mask(s) without an image, for example {bare[0]}"
        report.note("no image", folders[1], text, "handled: left out")
    single = [name for name in names if looks[name][4]]
    report.count("salient images with one object", len(single))
    if everything:
        used, file, advice = single, root, "only these are trained on, as there is no train.txt"
    else:
        used, file = listed["train"], root / "train.txt"
        advice = "train.txt is used as it is; remove it to have the rule applied"
    report.note("one object", root, f"{len(single)} of {len(names)} masks have {RULE}", advice)
    official_count(report, file, len(used), OFFICIAL_SALIENT)


def _look(path: Path | None) -> tuple[tuple[int, int] | None, tuple[str, str] | None, bool, bool, bool]:
    """(size, (text, advice) of a problem, and whether it is soft, has several channels, shows one object)."""
    if path is None:
        return None, ("is missing", "put the image's mask there"), False, False, False
    try:
        mask = read_mask(path)
        with Image.open(path) as file:
            colour = file.mode not in ("1", "L", "P")
    except WsisError as error:
        return None, (str(error).removeprefix(f"{path}: "), "put the image's mask there"), False, False, False
    problem = None if mask.any() else ("the mask is empty", "remove the image from the list")
    soft = bool(((mask > 0) & (mask < 1)).any())
    return mask.shape, problem, soft, colour, has_one_object(np.asarray(mask))
