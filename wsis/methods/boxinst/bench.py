"""`wsis bench pairwise`: the pairwise loss against its plain formulation, in one run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from wsis.bench.memory import fix_mmap_threshold, now, peak
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import ColourEdges, colour_edges
from wsis.losses.pairwise import pairwise_loss
from wsis.losses.plain import plain_pairwise_loss
from wsis.options import DeviceOption, JsonOption

INSTANCES, HEIGHT, WIDTH, STRIDE = 48, 200, 336, 4  # two images of 800 x 1344
# COCO's box sides: log of sqrt(box area / image area), measured on train2017 images.
LOG_SIDE, LOG_SIDE_STD = -2.3, 1.05
RULES = PairwiseSpec(tau=0.1, colour="pooled", bottom_rows=0, edges="centre", normalise="supervised")
FORMULATIONS = {"plain": plain_pairwise_loss, "packed": pairwise_loss}


def scene(device: str, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, ColourEdges]:
    """Logits, COCO-like boxes and image of each instance (on the CPU), edges of two smooth random images."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(INSTANCES, HEIGHT, WIDTH, generator=g) * 3
    quantiles = (torch.arange(INSTANCES) + 0.5) / INSTANCES
    side = (torch.special.ndtri(quantiles) * LOG_SIDE_STD + LOG_SIDE).exp()
    stretch = (torch.randn(INSTANCES, generator=g) * 0.4).exp()
    size = torch.stack([side * stretch * WIDTH, side / stretch * HEIGHT], 1)
    grid = torch.tensor([WIDTH, HEIGHT])
    size = size.clamp(min=1).minimum(grid)
    low = torch.rand(INSTANCES, 2, generator=g) * (grid - size)
    rectangles = torch.cat([low.floor(), (low.floor() + size.ceil()).minimum(grid)], 1).long()
    coarse = torch.rand(2, 3, 25, 42, generator=g) * 255
    images = torch.nn.functional.interpolate(coarse, scale_factor=32, mode="bilinear")
    images = (images + torch.randn(images.shape, generator=g) * 4).clamp(0, 255).to(torch.uint8)
    valid = torch.ones(2, HEIGHT * STRIDE, WIDTH * STRIDE, dtype=torch.bool)
    edges = colour_edges(images.to(device), valid.to(device), torch.zeros(2).to(device), STRIDE, RULES)
    index = torch.arange(INSTANCES) % 2
    return logits.to(device), rectangles, index, edges


def bench(device: DeviceOption = "cpu", as_json: JsonOption = False) -> None:
    """Pairwise loss against the plain formulation: time, peak memory, agreement (to 1e-5)."""
    result = measure(device)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table("", "plain", "packed", "ratio", title=f"pairwise loss, {result['device']}")
    table.add_row(
        "seconds", *(f"{result[n]['seconds']:.4f}" for n in FORMULATIONS), f"{result['faster']:.1f}"
    )
    peaks = [result[n]["peak_mb"] for n in FORMULATIONS]
    if all(peak is not None for peak in peaks):
        table.add_row("peak MB", *(f"{peak:.1f}" for peak in peaks), f"{result['smaller']:.1f}")
    table.add_row("loss", *(f"{result[n]['loss']:.7f}" for n in FORMULATIONS), "")
    Console().print(table)
    print(
        f"{INSTANCES} instances on {HEIGHT} x {WIDTH}, boxes cover {result['box_share']:.1%} of the image on "
        f"average; loss differs by {result['loss_difference']:.1e}, gradient by "
        f"{result['gradient_difference']:.1e} (relative)"
    )
    if "bandwidth" in result:
        print(
            f"achieved bandwidth {result['bandwidth']:.0f} GB/s, of a plain copy's {result['copy']:.0f} GB/s"
        )


def measure(device: str, repeats: int = 5) -> dict[str, Any]:
    """Median seconds and peak memory above the inputs of a forward and backward pass of each formulation."""
    fix_mmap_threshold()
    logits, rectangles, index, edges = scene(device)
    sizes = rectangles[:, 2:] - rectangles[:, :2]
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "box_share": (sizes.prod(1).float().mean() / (HEIGHT * WIDTH)).item(),
    }
    gradients = {}
    for name, formulation in FORMULATIONS.items():

        def step(formulation: Callable[..., Tensor] = formulation) -> tuple[Tensor, Tensor]:
            x = logits.detach().requires_grad_()
            loss = formulation(x, rectangles, index, edges, RULES)
            loss.backward()
            return loss.detach(), x.grad

        loss, gradients[name] = step()  # also warms up
        times = []
        for _ in range(repeats):
            start = now(device)
            step()
            times.append(now(device) - start)
        result[name] = {
            "seconds": statistics.median(times),
            "peak_mb": peak(step, device),
            "loss": loss.item(),
        }
    plain, packed = result["plain"], result["packed"]
    result["faster"] = plain["seconds"] / packed["seconds"]
    if plain["peak_mb"] and packed["peak_mb"]:
        result["smaller"] = plain["peak_mb"] / packed["peak_mb"]
    result["loss_difference"] = abs(plain["loss"] - packed["loss"]) / abs(plain["loss"])
    difference = (gradients["plain"] - gradients["packed"]).norm() / gradients["plain"].norm()
    result["gradient_difference"] = difference.item()
    if max(result["loss_difference"], result["gradient_difference"]) > 1e-5:
        raise ValueError(f"the formulations disagree: {result}")
    if device == "cuda":
        result |= _bandwidth(logits, rectangles, packed["seconds"])
    return result


def _bandwidth(logits: Tensor, rectangles: Tensor, seconds: float) -> dict[str, float]:
    """GB/s if each cell in a box were read and written once, beside what a copy of the logits reaches."""
    sizes = rectangles[:, 2:] - rectangles[:, :2]
    cells = int(sizes.prod(1).sum())
    needed = 2 * cells * logits.element_size() + logits.numel() * logits.element_size()
    target = torch.empty_like(logits)
    start = now("cuda")
    for _ in range(20):
        target.copy_(logits)
    copy = (now("cuda") - start) / 20
    return {
        "bandwidth": needed / seconds / 1e9,
        "copy": 2 * logits.numel() * logits.element_size() / copy / 1e9,
    }
