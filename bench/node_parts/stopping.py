# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM as a question."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def until_stopped() -> Callable[[], bool]:
    """Take over both signals; the function returned tells whether one has come."""
    numbers: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        del frame
        numbers.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, keep)
    return lambda: bool(numbers)
