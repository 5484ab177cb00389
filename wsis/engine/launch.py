"""Devices and processes: a Fabric for one device in this process, or one process a device."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.devices import check_cards
from wsis.engine.memory import OutOfMemory
from wsis.engine.ranks import outside
from wsis.errors import WsisError
from wsis.signals import SIGNALS, Interrupted, leave, remember

FABRIC = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}  # precisions in its words
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
STORE = "WSIS_STORE"  # environment variable: the file through which the processes of a training meet
AGAIN = 5.0  # seconds after which a notice is passed on again: processes that import don't hear it
GRACE = 10.0  # seconds that the other processes get to stop by themselves after one has failed


def make_fabric(
    schedule: ScheduleSpec, accelerator: str, devices: Sequence[int], idle: bool = True
) -> Fabric:
    """Fabric in the recipe's precision on `accelerator` ("cpu" or "cuda").

    devices: indices of this machine's cards (on the CPU their number counts, a process each). With more than
    one, this process must be one of `launch`'s, or have been started as a rank from outside, where the number
    of machines follows from that of all ranks. idle: some steps may leave parameters without a gradient.
    """
    if accelerator == "cuda":
        check_cards()
    precision = FABRIC[possible_precision(schedule.precision, accelerator)]
    if accelerator == "cpu":
        # Exact resume needs sums in a fixed order, also with several threads.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    strategy: Any = "auto"
    ranks = outside()
    nodes = ranks.world_size() // len(devices) if ranks else 1
    if len(devices) * nodes > 1:
        # The new name of broadcast_buffers is unknown to the oldest torch that is supported.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        strategy = DDPStrategy(find_unused_parameters=idle, broadcast_buffers=False)
        if not ranks:
            _meet(accelerator, devices)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=accelerator,
        devices=list(devices) if accelerator == "cuda" else len(devices),
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
        plugins=[ranks or LightningEnvironment()],  # not what Fabric makes of a Slurm job with one task
    )
    fabric.launch()
    return fabric


def _meet(accelerator: str, devices: Sequence[int]) -> None:
    """Join the process group, through a file, so that nothing listens for it (torch's own store does)."""
    if torch.distributed.is_initialized():
        return
    rank, world = int(os.environ["LOCAL_RANK"]), len(devices)
    card = torch.device("cuda", devices[rank]) if accelerator == "cuda" else None
    if card:
        torch.cuda.set_device(card)
        atexit.register(torch.distributed.destroy_process_group)
    store = torch.distributed.FileStore(os.environ[STORE], world)
    torch.distributed.init_process_group(
        "nccl" if card else "gloo", store=store, rank=rank, world_size=world, device_id=card
    )


def possible_precision(wanted: str, accelerator: str) -> str:
    """'32', 'bf16' or '16': `wanted` where the device computes it natively, else what comes nearest.

    bf16 without units for it is emulated, eight times slower than float32 or more; float16 needs a card.
    'auto' is bf16 where it is native, else float32.
    """
    if wanted == "32" or (wanted == "16" and accelerator == "cuda"):
        return wanted
    return "bf16" if native_bf16(accelerator) else "32"


def native_bf16(accelerator: str) -> bool:
    """Whether the graphics card ("cuda"), or this processor as torch uses it, multiplies bf16 natively."""
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # A lowered instruction set (ATEN_CPU_CAPABILITY) shows in the second only.
    there = torch.cpu.get_capabilities()
    units = any(there.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))
    return units and torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def precision_name(fabric: Fabric) -> str:
    """'32', 'bf16' or '16', as in ScheduleSpec.precision."""
    return str(fabric.strategy.precision.precision).partition("-")[0]


def device_name(device: torch.device) -> str:
    """The graphics card's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    threads = torch.get_num_threads()
    return f"{names[0] if names else os.uname().machine} ({threads} thread{'s' if threads > 1 else ''})"


def set_threads(threads: int | None = None) -> None:
    """Threads of each process: `threads`, else OMP_NUM_THREADS, else torch's own choice."""
    wanted = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    if wanted:
        torch.set_num_threads(wanted)


def launch(
    work: Callable[..., Any], arguments: tuple[Any, ...], processes: int, start_method: str = "spawn"
) -> Any:
    """Call work(*arguments) in `processes` new processes and return what the first one's call returns.

    work and arguments must be importable and picklable. start_method: "fork" saves the imports, but is for
    the CPU only. SIGTERM and SIGUSR1 are passed on to all of them.
    Raises the WsisError (Interrupted, OutOfMemory) that one of them raised; when one fails, the others are
    stopped. They talk to each other over the loopback interface alone.
    """
    with tempfile.TemporaryDirectory(prefix="wsis-") as folder:
        return _launch(work, arguments, processes, start_method, Path(folder) / "store")


def _launch(
    work: Callable[..., Any], arguments: tuple[Any, ...], processes: int, start_method: str, store: Path
) -> Any:
    context = torch.multiprocessing.get_context(start_method)
    outcomes = context.SimpleQueue()
    notice = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # while they start it would end them
    started = torch.multiprocessing.start_processes(
        _rank, (work, arguments, processes, store, outcomes), processes, join=False, start_method=start_method
    )

    received: list[int] = []

    def forward(number: int, frame: Any = None) -> None:
        received.append(number)
        for pid in started.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    former = {number: signal.signal(number, forward) for number in SIGNALS} | {signal.SIGUSR1: notice}
    try:
        while not started.join(AGAIN, grace_period=GRACE):
            if received and received[-1] == signal.SIGUSR1:
                forward(signal.SIGUSR1)
    except torch.multiprocessing.ProcessExitedException:
        if outcomes.empty() and not received:
            raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    told = []
    while not outcomes.empty():
        told.append(outcomes.get())
    for rank, kind, value in sorted(told, key=lambda outcome: outcome[0]):
        if kind == "interrupted":
            raise Interrupted(*value)
        if kind == "memory":
            raise OutOfMemory(value)
        if kind == "error":
            raise WsisError(value if rank == 0 else f"{value} (process {rank})")
    if received and not told:  # outside of the training loop a signal simply ends the processes
        raise Interrupted(f"stopped by signal {received[0]}", 128 + received[0])
    for number in received[:1]:  # it came too late for them
        leave(number)
    return next(value for rank, kind, value in told if kind == "result")


def _rank(
    rank: int, work: Callable[..., Any], arguments: tuple, processes: int, store: Path, outcomes: Any
) -> None:
    environment = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": processes, STORE: store}
    environment |= {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
    os.environ.update({key: str(value) for key, value in environment.items()})
    remember()
    try:
        result = work(*arguments)
    except Interrupted as error:
        outcomes.put((rank, "interrupted", (str(error), error.status)))
        raise SystemExit(error.status) from None
    except WsisError as error:
        outcomes.put((rank, "memory" if isinstance(error, OutOfMemory) else "error", str(error)))
        raise SystemExit(1) from None
    if rank == 0:
        outcomes.put((rank, "result", result))
