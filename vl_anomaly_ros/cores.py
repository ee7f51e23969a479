# SPDX-License-Identifier: Apache-2.0
"""Threads that work side by side on cores of their own."""

from __future__ import annotations

import contextlib
import os


def keep_to_half(half: int) -> None:
    """Let the calling thread use every other core of those that the process may use, from the first (0) or second (1).

    Two threads of which one wakes the other are else often put on one core, where they take turns until the scheduler
    notices, some milliseconds later, that another one is idle. Where there is one core, or no such setting, nothing
    changes. A thread that this one starts begins with the same half: see `use_all`.
    """
    _keep_to(slice(half, None, 2))


def use_all() -> None:
    """Let the calling thread, whoever started it, use every core that the process may use."""
    _keep_to(slice(None))


def _keep_to(some: slice) -> None:
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(os.getpid()))
    if len(cores) > 1:
        with contextlib.suppress(OSError):  # a container may forbid it, and the cores may just have changed
            os.sched_setaffinity(0, cores[some])
