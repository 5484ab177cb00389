"""A network in two parts: the base, which masks are made from, and the part that makes them.

At small scales the base is trained once a seed, and the rows of its tables learn the masks' part alone
(`model.trained`). They then see the same features of the same images, which are computed once a process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

from wsis.data.structures import Memo, all_once
from wsis.declare.recipe import Recipe
from wsis.methods.base import Method

T = TypeVar("T")
NORM = nn.modules.batchnorm._BatchNorm


class Parts(Method):
    """Base class of methods whose recipes may train one part alone; call `set_trained` once it is built.

    frozen:    whether the base is: its weights, and its batch norm's statistics
    iteration: steps done, int64, which ramps of losses read; a part of checkpoints
    """

    frozen = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))
        self._steps: int | None = None
        self._key, self._versions = "", list[tuple[int, int]]()

    def on_step_end(self, iteration: int) -> None:
        self.iteration += 1
        if self._steps is not None:
            self._steps += 1

    def steps(self) -> int:
        """`iteration` as a number: the device is asked once, and again when other weights were loaded."""
        if self._steps is None:
            self._steps = int(self.iteration)
        return self._steps

    def set_trained(self) -> None:
        """Leave gradients to what the recipe trains: everything, the base, or the masks' part."""
        trained = self.recipe.model.trained
        self.frozen = trained == "masks"
        for name, parameter in self.named_parameters():
            part = "masks" if name.startswith(self.mask_part) else "base"
            parameter.requires_grad_(parameter.requires_grad and trained in ("all", part))
        self._base_key: str | None = None
        self.register_load_state_dict_post_hook(_forget)

    def train(self, mode: bool = True) -> Parts:
        """Training mode, but for batch norm of a frozen base, which keeps to its statistics."""
        super().train(mode)
        self._versions.clear()
        if self.frozen:
            for name, module in self.named_modules():
                if isinstance(module, NORM) and not name.startswith(self.mask_part):
                    module.eval()
        return self

    def of_base(self, images: Memo, compute: Callable[[], T], *what: Hashable) -> T:
        """compute(): what the base says of some images.

        For a frozen base it is computed without gradients and kept on the images, where other networks on the
        same base find it. what: what else it depends on.
        """
        if not self.frozen:
            return compute()
        with torch.no_grad():
            return images.once((self.base_key(), *what), compute)

    def of_base_each(
        self, images: Sequence[Memo], compute: Callable[[], Iterable[T]], *what: Hashable
    ) -> list[T]:
        """The same of images that are kept one by one: compute() gives something for each."""
        if not self.frozen:
            return list(compute())
        with torch.no_grad():
            return all_once(images, (self.base_key(), *what), compute)

    def base_key(self) -> str:
        """Digest of a frozen base, computed once: bases with equal keys see the same in an image."""
        if self._base_key is None:
            self._base_key = self._digest(lambda name: not name.startswith((*self.mask_part, "iteration")))
        return self._base_key

    def key(self) -> str:
        """Digest of all weights and buffers as they are now, computed once while a network only predicts."""
        now = [(id(value), value._version) for value in chain(self.parameters(), self.buffers())]
        if self.training or self._versions != now:  # fused optimisers count no versions
            self._key, self._versions = self._digest(lambda name: True), now
        return self._key

    def _digest(self, chosen: Callable[[str], bool]) -> str:
        state = {name: value for name, value in self.state_dict().items() if chosen(name)}
        digest = hashlib.sha256(repr(list(state)).encode())
        if state:
            content = [value.contiguous().reshape(-1).view(torch.uint8) for value in state.values()]
            digest.update(torch.cat(content).cpu().numpy().tobytes())  # one copy from the device
        return digest.hexdigest()


def _forget(module: Parts, _: object) -> None:
    """Other weights have been loaded."""
    module._base_key = module._steps = None
