# SPDX-License-Identifier: Apache-2.0
"""Which bytes a frame moves between host and GPU, and how long these copies alone take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np

from vl_anomaly_ros.engine.tensorrt.device import Device

_REPEATS = 50


def copies_of(frame: Callable[[], object], frame_ms: float) -> dict[str, Any]:
    """What one call of `frame` copies through `Device`, and the time of the same copies with nothing else going on.

    Args:
        frame: runs one frame of a backend that is on a `Device`.
        frame_ms: its median time, for the share.
    """
    sizes: dict[str, list[int]] = {"upload": [], "download": []}

    def noted(name: str) -> Callable[..., None]:
        real = getattr(Device, name)

        def call(self: Device, to: Any, source: Any, size: int) -> None:
            sizes[name].append(size)
            real(self, to, source, size)

        return call

    with patch.object(Device, "upload", noted("upload")), patch.object(Device, "download", noted("download")):
        frame()
    milliseconds = _alone(sizes["upload"], sizes["download"])
    return {
        "to_gpu_bytes": sum(sizes["upload"]),
        "to_host_bytes": sum(sizes["download"]),
        "copies": len(sizes["upload"]) + len(sizes["download"]),
        "copies_alone_ms": round(milliseconds, 3),
        "share_of_frame": round(milliseconds / frame_ms, 3),
    }


def _alone(up: list[int], down: list[int]) -> float:
    """Median milliseconds, from the first call to the end of the wait."""
    with Device() as device:
        most = max([*up, *down], default=1)
        pointer, pinned = device.allocate(most), device.pinned(most)
        times = []
        for _ in range(_REPEATS):
            began = perf_counter()
            for size in up:
                device.upload(pointer, pinned, size)
            for size in down:
                device.download(pinned, pointer, size)
            device.wait()
            times.append(1e3 * (perf_counter() - began))
    return float(np.median(times))
