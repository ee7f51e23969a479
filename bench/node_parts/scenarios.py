# SPDX-License-Identifier: Apache-2.0
"""The scenarios by name: which loads, and which stretches for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.node_parts.segment import FULL, NODE, TINY, Load

PROFILE = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@dataclass(frozen=True)
class Part:
    """A load with its stretches, in the order of measurement.

    Attributes:
        load: what the node and the floors are put to.
        kinds: NODE, TINY and FULL, with the seconds of each.
        without: environment variables that are taken away.
        note: what differs from the others.
    """

    load: Load
    kinds: tuple[tuple[str, float], ...]
    without: tuple[str, ...] = field(default=())
    note: str = ""


def scenario(name: str, load: Load) -> list[Part]:
    """The parts of a scenario.

    Args:
        name: one of `SCENARIOS`.
        load: rate, cameras, engine and seconds where the scenario leaves them open; its parameters and reliability.
    """
    return SCENARIOS[name](load)


def _quick(load: Load) -> list[Part]:
    load = replace(load, rate_hz=10.0, cameras=1, engine_ms=0.0)
    return [Part(load, ((NODE, 12.0), (TINY, 8.0), (FULL, 8.0)) * 2)]


def _rates(load: Load) -> list[Part]:
    return [
        Part(
            replace(load, rate_hz=rate_hz, engine_ms=engine_ms, cameras=cameras), ((NODE, 20.0), *_floors(cameras, 8.0))
        )
        for cameras in (1, 4)
        for engine_ms in (0.0, 100.0)
        for rate_hz in (10.0, 30.0)
    ]


def _soak(cameras: int) -> Callable[[Load], list[Part]]:
    def parts(load: Load) -> list[Part]:
        floors = _floors(cameras, 30.0)
        load = replace(load, rate_hz=30.0, cameras=cameras, engine_ms=100.0)
        return [Part(load, (*floors, (NODE, 600.0), *floors))]

    return parts


def _untuned(load: Load) -> list[Part]:
    kinds = ((TINY, 15.0), (FULL, 15.0))
    parts = []
    for rate_hz in (10.0, 30.0):
        at = replace(load, rate_hz=rate_hz, cameras=1)
        parts += [
            Part(at, kinds, (), "tuned"),
            Part(at, kinds, MALLOC, "without malloc thresholds"),
            Part(at, kinds, (*PROFILE, *MALLOC), "without DDS profile and malloc thresholds"),
        ]
    return parts


def _floors(cameras: int, seconds: float) -> tuple[tuple[str, float], ...]:
    """Without the full floor where it would be overloaded: it answers each image, 4 cameras at 30 Hz by 2 GB/s."""
    return ((TINY, seconds), (FULL, seconds)) if cameras == 1 else ((TINY, seconds),)


def _custom(load: Load) -> list[Part]:
    seconds = load.seconds
    return [Part(load, ((NODE, seconds), *_floors(load.cameras, seconds / 2)) * 2)]


SCENARIOS = {
    "quick": _quick,
    "rates": _rates,
    "soak": _soak(1),
    "soak4": _soak(4),
    "untuned": _untuned,
    "custom": _custom,
}
