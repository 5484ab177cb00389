"""Optimiser, learning rate, batches and iterations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from wsis.declare.base import Count, Fraction, Positive, Spec, Weight


class ScheduleSpec(Spec):
    """Optimiser and schedule. `iterations` are those of a 1x schedule; `length` multiplies them."""

    optimizer: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=1000)] = 0.01
    backbone_factor: Annotated[float, Field(gt=0, le=1000)] = 1.0  # of `lr`, for the backbone
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # of AdamW and Adam
    weight_decay: Weight = 1e-4
    batch: Positive = 16  # images a step, over all devices
    devices: Positive = 8
    iterations: Count = 90000
    length: Annotated[float, Field(gt=0, le=1000)] = 1.0  # 1: "1x", 3: "3x", ...
    milestones: tuple[Positive, ...] = (60000, 80000)  # iterations at which lr is divided by ten
    decay: Literal["step", "poly", "cosine"] = "step"
    power: Annotated[float, Field(gt=0, le=100)] = 0.9  # of poly
    warmup: Count = 1000  # iterations of linear lr warm-up
    warmup_factor: Fraction = 0.001  # from lr * this
    # Batch norm over the images of all devices; null: as the method's code has it (`Info.sync_norm`).
    sync_norm: bool | None = None
    clip: Weight = 0.0  # gradient norm; 0: no clipping
    # auto: bf16 where the device computes it natively, else float32
    precision: Literal["32", "bf16", "16", "auto"] = "32"
    compile: bool = False  # backbone and towers, by torch.compile; numbers differ by rounding
    until: Positive | None = None  # stop here: a warm-up, which other recipes continue
    validate_every: Positive | None = None  # iterations between validations; the best weights are the run's

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """32 and 16 as well: on a command line their quotes are lost."""
        return str(value) if isinstance(value, int) else value

    def usable_devices(self, offered: int) -> int:
        """Of `offered` devices, how many a training uses: at most its own, and a divisor of its batch."""
        most = max(1, min(offered, self.devices))
        return next(number for number in range(most, 0, -1) if self.batch % number == 0)

    @property
    def total(self) -> int:
        """Iterations of the whole schedule."""
        return round(self.iterations * self.length)

    @property
    def end(self) -> int:
        """Iteration at which the run ends."""
        return self.total if self.until is None else min(self.until, self.total)
