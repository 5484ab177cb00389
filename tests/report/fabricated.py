"""Invented reports and runs: shaped like real ones, every number made up here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from wsis.declare.table import Claim, Curve, Erratum, Figure, Row, Sweep, Table
from wsis.report.effects import fill_effects
from wsis.report.model import CellResult, ClaimResult, FigureResult, Report, TableResult, Trend

SEEDS = (0, 1, 2)
EVIL = "<script>alert('50% & more_of #1')</script>"
COLUMNS = ("AP", "AP50", "AP75", "APS", "APM", "APL")
FACTORS = {"AP": 1, "AP50": 1.5, "AP75": 1.1, "APS": 0.4, "APM": 1.1, "APL": 1.4}
MEASURED = ("baseline", "pseudo", "pseudo + paste", "control: nothing inside")  # rows of SIM's Table 3
PICTURED = "pseudo + paste"
HEADER = ("AP", "AP₅₀", "AP₇₅", "AP_S", "AP_M", "AP_L")


def run_id(label: str, seed: int) -> str:
    return f"boxinst-{abs(hash_text(f'{label}/{seed}')):010x}"


def hash_text(text: str) -> int:
    value = 7
    for letter in text:
        value = (value * 131 + ord(letter)) % 16**10
    return value


def row(label: str, values: tuple[float | None, ...], quote: str | None = None) -> Row:
    return Row(label=label, values=values, train=None if quote else {}, quote=quote)


def cells(table: Table, level: dict[str, float | None]) -> dict[tuple[str, str], CellResult]:
    """A cell for every row and metric; `level`: measured AP of the rows that ran."""
    made = {}
    for r in table.rows:
        for metric, published in {**dict.fromkeys(table.metrics), **table.published(r)}.items():
            step = 0.1 if published is not None else 0
            cell = CellResult(published, (published - step / 2, published + step / 2) if step else None)
            if r.kind == "quote":
                cell.reason = "quoted"
            else:
                cell.runs = {seed: run_id(r.label, seed) for seed in SEEDS}
                base = level.get(r.label)
                if metric in table.measures and r.base:  # another paper's method
                    cell.reason, cell.meant, cell.runs = "no pseudo masks", False, {}
                elif base is None or (metric == "prop" and published is None):
                    cell.reason = f"not run: python -m wsis train --scale tiny {cell.runs[0]} (~0.2 GPU h)"
                else:
                    factor = FACTORS.get(metric)
                    value = 78 + base / 2 if factor is None else base * factor
                    cell.values = {s: value + 0.9 * math.sin(s * 2.3 + base) for s in SEEDS}
            made[r.label, metric] = cell
    return made


def threshold_table() -> TableResult:
    table = Table(
        paper="boxinst", table="1a", title="Varying the colour similarity threshold τ",
        caption="Ablation study on the hyper-parameters in the proposed mask loss on the COCO val2017 split.",
        section="3.3", dataset="coco", split="val2017", protocol="coco", base="r50", headline=True,
        reference="τ = 0.1",
        columns=("prop", *COLUMNS), header=("prop.", *HEADER),
        rows=(
            row("fully-sup.", (None, 35.4, 55.9, 37.6, 17.0, 38.8, 50.7)),
            row("τ = 0", (94.1, 9.4, 30.3, 3.3, 7.6, 10.3, 11.4)),
            row("τ = 0.1", (98.3, 30.7, 52.2, 31.1, 13.8, 33.1, 45.7)),
            row("τ = 0.2", (98.4, 30.6, 52.6, 30.9, 13.9, 32.8, 45.5)),
        ),
        sweep=Sweep(axis="threshold τ", points={"τ = 0": 0.0, "τ = 0.1": 0.1, "τ = 0.2": 0.2},
                    metrics=("AP", "prop")),
        note="The fully supervised row uses the proposed loss with ground-truth edge labels.",
    )  # fmt: skip
    result = TableResult(
        table, cells(table, {"fully-sup.": 42.1, "τ = 0": 0.7, "τ = 0.1": 41.4, "τ = 0.2": 41.5})
    )
    result.cells["τ = 0.2", "AP"].stale = True
    result.trend = Trend(0.67, 4, "AP", "fully-sup.", "fully-sup.")
    result.deviations = ["data: 800 synthetic images of 96x96 pixels instead of COCO train2017",
                         "schedule: 160 iterations from a shared warm-up instead of 90000"]  # fmt: skip
    result.errata = [erratum("b4-edges", ("boxinst/1a",))]
    result.claims = [
        claim("tau-zero-collapses", "τ = 0 yields a trivial solution", "reproduced", True,
              "τ = 0: 0.7 ± 0.3, lowest of 4 rows; next τ = 0.1, difference 40.7 [38.2, 43.1] (n = 3)"),
        claim("tau-insensitive", "The threshold is not sensitive (0.1 to 0.2)", "inconclusive", True,
              "largest difference 0.9 [-0.4, 2.2], allowed 1.0 (n = 3)"),
        claim("fully-best", "Fully supervised training stays ahead of box supervision", "contradicted", None,
              "fully-sup. 42.1 against 43.0 of τ = 0.2: -0.9 [-1.4, -0.4] (n = 3)"),
    ]  # fmt: skip
    fill_effects(result)
    return result


def claim(name: str, text: str, verdict: str, published: bool | None, detail: str, table: str = "boxinst/1a"):
    declared = Claim(id=name, text=text, section="3.3", kind="best", metric="AP", row={"row": "x"})
    n = 3 if verdict != "not run" else 0
    return ClaimResult(declared, table, verdict, published, detail, n, edge=verdict == "contradicted")


def erratum(name: str, about: tuple[str, ...]) -> Erratum:
    return Erratum(id=name, where="Sec. 3.1", about=about, paper="E_in: edges with an endpoint in the box.",
                   other="The released code weighs by the centre pixel.", source="code",
                   follows="The paper (variant: released switches).")  # fmt: skip


def systems_table() -> TableResult:
    table = Table(
        paper="boxinst", table="3", title="Comparison with other systems", caption=f"Main results {EVIL}",
        section="3.4", dataset="coco", split="val2017", protocol="coco", base="r50",
        columns=COLUMNS, header=HEADER,
        rows=(
            row("Box mask", (10.6, 35.5, 3.9, 6.1, 12.0, 15.5)),
            row("BBTP", (21.1, 45.5, 17.2, 11.2, 22.0, 29.8), quote="BBTP (Hsu et al., NeurIPS 2019)"),
            row("Projection only", (21.2, 45.0, 18.6, 9.6, 22.7, 31.7)),
            row("Projection + pairwise", (30.7, 52.2, 31.1, 13.8, 33.1, 45.7)),
            row(f"Long label {EVIL}", (31.9, 54.0, 32.2, None, 34.0, None)),
        ),
    )  # fmt: skip
    result = TableResult(
        table, cells(table, {"Box mask": 1.5, "Projection only": 23.9, "Projection + pairwise": 41.4})
    )
    result.trend = Trend(None, 3, "AP", "Projection + pairwise", "Projection + pairwise")
    result.claims = [
        claim("pairwise-helps", "The pairwise term helps", "reproduced", True, "+17.5 (n = 3)", table.key)
    ]
    fill_effects(result)
    return result


def measures_table() -> TableResult:
    """SIM's Table 3: a row of ours that ran, one that did not, and columns of ours."""
    table = Table(
        paper="sim", table="3", title="Contribution of the two losses", caption="Mask AP by loss terms.",
        section="4.4", dataset="coco", split="val2017", protocol="coco", base="r50",
        columns=("AP", "AP50"), header=("AP", "AP₅₀"),
        measures=("pseudo_IoU", "pseudo_cover", "semantic_AUC", "instance_AUC_overlap"),
        rows=(
            Row(label="baseline", values=(30.7, 52.2), train={}, base="boxinst/r50"),
            row("pseudo", (31.9, 54.0)),
            row("pseudo + paste", (32.2, 54.0)),
            Row(label="control: nothing inside", ours=True, train={}, note="Background outside only."),
            Row(label="W & literal", ours=True, train={}),
        ),
    )  # fmt: skip
    result = TableResult(
        table,
        cells(
            table, {"baseline": 41.4, "pseudo": 41.9, "pseudo + paste": 41.1, "control: nothing inside": 43}
        ),
    )
    result.trend = Trend(None, 3, "AP", "pseudo + paste", "pseudo")
    words = "Masks improve (in the pseudo masks)"
    detail = "'pseudo + paste' - 'pseudo' (M_S: AUC) = +2.0 [+1.0, +3.0], n = 3"
    judged = claim("masks-in-pseudo-masks", words, "reproduced", None, detail, table.key)
    judged.claim = judged.claim.model_copy(update={"metric": "pseudo_IoU"})
    result.claims = [judged]
    fill_effects(result)
    return result


def unrun_table(paper: str, number: str) -> TableResult:
    table = Table(
        paper=paper, table=number, title="An ablation that nobody ran", caption="Effect of the components.",
        section="4.2", dataset="voc", split="val", protocol="voc", base="r50",
        columns=("AP25", "AP50", "AP75"), header=("mAP₂₅", "mAP₅₀", "mAP₇₅"),
        rows=(row("baseline", (56.7, 41.2, 15.9)), row("+ module", (59.1, 44.0, 17.3)),
              row("IRNet", (None, 46.7, None), quote="IRNet (CVPR 2019)")),
    )  # fmt: skip
    result = TableResult(table, cells(table, {}))
    result.claims = [
        claim(f"module-{paper}-{number}", "The module helps", "not run", True, "needs 2 more rows", table.key)
    ]
    fill_effects(result)
    return result


def figure() -> FigureResult:
    x = [0.05 * i for i in range(15)]
    declared = Figure(
        paper="boxinst", figure="4", title="Positive edges", caption="Edges' labels and colour.",
        section="3.2", measure="colour-affinity", dataset="coco", split="val2017", thresholds=tuple(x),
        published=(Curve(label="Table 1a", metric="prop", points=((0.0, 94.1), (0.1, 98.3))),),
    )  # fmt: skip
    measured = [
        Curve(label=f"{metric}, {name}", metric=metric, points=tuple(zip(x, values, strict=True)))
        for name, shift in (("an endpoint in the box", 0.0), ("the centre in the box", 0.4))
        for metric, values in (
            ("prop", [98.5 + shift - 4.5 * math.exp(-30 * t) for t in x]),
            ("kept", [100 * math.exp(-1.6 * t) - 5 * shift for t in x]),
        )
    ]
    return FigureResult(declared, measured, None)


def report() -> Report:
    unrun = [
        unrun_table("boxinst", "5"),
        *(unrun_table(p, n) for p in ("sim", "boxcaseg") for n in ("1", "2", "4")),
    ]
    trained = {
        run_id(label, seed): {
            "recipe": run_id(label, seed), "scale": "tiny", "seconds": 11.3, "iterations": 160, "resumed": 0,
            "losses": {"mask": 0.2}, "images_per_second": 113.0, "devices": 1, "device_name": "cpu",
            "precision": "bf16", "peak_memory": 812_000_000, "code": "ab12", "deviations": [],
            "data": {"root_name": "shapes-0123abcd", "train_images": 800, "eval_images": 150},
        }
        for label in ("fully-sup.", "τ = 0", "τ = 0.1", "τ = 0.2", "Box mask", "Projection only",
                      "Projection + pairwise", *MEASURED)
        for seed in SEEDS
    }  # fmt: skip
    return Report(
        scale="tiny", seeds=SEEDS,
        tables=[threshold_table(), systems_table(), measures_table(), *unrun], figures=[figure()],
        errata={"boxinst": [erratum("b4-edges", ("boxinst/1a",)), erratum("b6-warm-up", ())], "sim": []},
        provenance={"versions": {"torch": "2.7.1", "numpy": "2.3.0"}, "commits": ["0123abc"],
                    "hardware": ["2 x CPU"], "seeds": list(SEEDS), "runs": 21, "planned": 48,
                    "seconds": 237.0, "data": ["shapes-0123abcd"]},
        runs=trained,
    )  # fmt: skip


def results(folder: Path, made: Report) -> dict[str, Path]:
    """Run folders with logs and predictions under `folder`/<scale>; run id -> COCO root."""
    folder = folder / made.scale
    root = folder / "data" / "shapes-0123abcd"
    truth = coco_root(root)
    for index, run in enumerate(made.runs):
        path = folder / "runs" / run
        path.mkdir(parents=True)
        random = np.random.default_rng(index)
        lines = []
        for t in range(160):
            losses = {
                n: float(s * math.exp(-t / 60) + 0.1 + 0.05 * random.random())
                for n, s in (("classes", 1.1), ("boxes", 0.8), ("projection", 0.9), ("pairwise", 0.4))
            }
            step = {"iteration": t, "lr": 1e-3, "total": sum(losses.values()), "losses": losses}
            lines.append(json.dumps({**step, "seconds": 0.07 * t}))
        (path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (path / "recipe.json").write_text(
            json.dumps(
                {"id": run, "scale": "tiny", "recipe": {"data": {"dataset": "shapes", "eval": "val2017"}}}
            )
        )
        noisy = [_predict(annotation, random) for annotation in truth["annotations"]]
        (path / "predictions.json").write_text(json.dumps(noisy), encoding="utf-8")
    pictures(folder / "runs" / run_id(PICTURED, SEEDS[0]) / "pictures")
    return dict.fromkeys(made.runs, root)


def pictures(folder: Path) -> None:
    """Two sheets as a run of SIM draws them, one of them as wide as such sheets are."""
    folder.mkdir()
    entries = []
    for name, width, height in (("maps.png", 1180, 420), ("weights.png", 500, 300)):
        Image.new("RGB", (width, height), (90, 140, 90)).save(folder / name)
        words = {
            "title": f"Sheet {name}",
            "caption": f"{name}: from left to right. {EVIL}",
            "alt": f"of {name}",
        }
        entries.append({"file": name, **words, "width": width, "height": height})
    (folder / "pictures.json").write_text(json.dumps(entries), encoding="utf-8")


def _predict(annotation: dict, random: np.random.Generator) -> dict:
    solid = rle.decode(annotation["segmentation"])
    moved = np.roll(solid, (int(random.integers(-3, 4)), int(random.integers(-3, 4))), (0, 1))
    code = rle.encode(np.asfortranarray(moved))
    return {"image_id": annotation["image_id"], "category_id": annotation["category_id"], "score": 0.9,
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()}}  # fmt: skip


def coco_root(root: Path, images: int = 6, side: int = 96) -> dict:
    """Discs on noise: <root>/val/*.png and <root>/annotations/instances_val.json; returns the annotations."""
    (root / "val").mkdir(parents=True)
    (root / "annotations").mkdir()
    random = np.random.default_rng(5)
    truth: dict = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": str(k)} for k in (1, 2, 3)],
    }
    yy, xx = np.mgrid[:side, :side]
    for image in range(1, images + 1):
        pixels = np.full((side, side, 3), random.integers(90, 160, 3)) + random.normal(0, 3, (side, side, 3))
        for _ in range(2):
            x, y, r = (
                int(random.integers(low, high)) for low, high in ((20, side - 20), (20, side - 20), (9, 18))
            )
            disc = ((xx - x) ** 2 + (yy - y) ** 2 <= r * r).astype(np.uint8)
            pixels[disc > 0] = random.integers(40, 255, 3)
            code = rle.encode(np.asfortranarray(disc))
            truth["annotations"].append(
                {"id": len(truth["annotations"]) + 1, "image_id": image, "category_id": r % 3 + 1,
                 "iscrowd": 0, "area": int(disc.sum()), "bbox": [x - r, y - r, 2 * r + 1, 2 * r + 1],
                 "segmentation": {"size": code["size"], "counts": code["counts"].decode()}}
            )  # fmt: skip
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "val" / f"{image:06d}.png")
        truth["images"].append({"id": image, "file_name": f"{image:06d}.png", "height": side, "width": side})
    (root / "annotations" / "instances_val.json").write_text(json.dumps(truth), encoding="utf-8")
    return truth
