# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training over single-threaded processes.

Threads inside one process wait for each other busily in the convolutions' backward pass, which on a machine
shared with other work costs several times the work itself; processes that exchange gradients do not.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing, nn


def rank() -> int:
    """Return this process's number, 0 where training runs in one process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes, in place."""
    if world_size() == 1:
        return
    given = [p for p in parameters if p.grad is not None]
    flat = torch.cat([p.grad.flatten() for p in given if p.grad is not None])
    dist.all_reduce(flat)
    flat /= world_size()
    start = 0
    for p in given:
        assert p.grad is not None  # noqa: S101  (filtered above; for the type checker)
        p.grad.copy_(flat[start : start + p.numel()].view_as(p))
        start += p.numel()


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over the processes."""
    if world_size() > 1:
        dist.all_reduce(value)
        value = value / world_size()
    return value


def run_together(function: Callable[..., None], processes: int, *arguments: Any) -> None:
    """Call `function(*arguments)` in several processes of one thread each, and wait for them.

    An error in one of them ends the others and is raised here.
    """
    if processes <= 1:
        function(*arguments)
        return
    # Large buffers come and go in every step: kept by the allocator instead of being faulted in again each time.
    for name, size in {"MMAP_THRESHOLD": 1 << 30, "TRIM_THRESHOLD": 1 << 32, "TOP_PAD": 1 << 28}.items():
        os.environ.setdefault(f"MALLOC_{name}_", str(size))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        multiprocessing.spawn(_join, args=(processes, str(store), function, arguments), nprocs=processes)  # type: ignore[no-untyped-call]


def _join(index: int, processes: int, store: str, function: Callable[..., None], arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=index, world_size=processes,
        timeout=dt.timedelta(minutes=10),
    )  # fmt: skip
    try:
        function(*arguments)
    finally:
        dist.destroy_process_group()


def _end_with_parent(parent: int) -> None:
    """End this process once its parent is gone, so that a stopped run never goes on writing checkpoints."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
