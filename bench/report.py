# SPDX-License-Identifier: Apache-2.0
"""What all benches share: percentiles, the machine described, and the file that a result is kept in."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
LIBRARIES = ("numpy", "numba", "opencv-python-headless", "onnxruntime")


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile.

    >>> percentiles([1.0, 2.0, 3.0])["median_ms"]
    2.0
    """
    return {
        "median_ms": round(float(np.percentile(milliseconds, 50)), 2),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 2),
    }


def machine() -> dict[str, Any]:
    """What the figures are measured on: processor, cores, memory, system, Python and libraries, and how busy it is."""
    system = platform.uname()
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or system.machine,
        "cpu_family_model": " ".join(_field("/proc/cpuinfo", name) for name in ("cpu family", "model")).strip(),
        "cpu_mhz": _field("/proc/cpuinfo", "cpu MHz"),
        "architecture": system.machine,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
        "kernel": f"{system.system} {system.release}",
        "scheduling": "real-time" if real_time() else "normal",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "load_1min": round(os.getloadavg()[0], 2),
    }


def real_time() -> bool:
    """Whether this process was started with real-time priority, as by `chrt -f 10`; its children have it too."""
    return os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)


def write_result(name: str, data: dict[str, Any]) -> Path:
    """Keep a bench's figures, with the machine described, as `bench/results/NAME.json`, or NAME-real-time.json.

    Args:
        name: of the bench.
        data: what json can write.

    Returns:
        The file.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'-real-time' if real_time() else ''}.json"
    path.write_text(json.dumps({"bench": name, **data, "machine": machine()}, indent=2) + "\n")
    return path


def _field(file: str, name: str) -> str:
    """Value of the first line `name : value` of a file of /proc; empty where there is none."""
    path = Path(file)
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
