# SPDX-License-Identifier: Apache-2.0
"""Which transforms a frame has missed, and whether they come late."""

from __future__ import annotations

from typing import NamedTuple

from vl_anomaly_ros.assembly import TransformSource
from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import DoubleArray

_KEPT_NS = 1_000_000_000


class Miss(NamedTuple):
    """A question that TF could not answer: a transform at a stamp, or (source None) a frame by its name."""

    target: str
    source: str | None
    stamp_ns: int

    @property
    def name(self) -> str:
        """In words."""
        return f"frame {self.target}" if self.source is None else f"transform {self.source} -> {self.target}"


class RecordingSource:
    """A `TransformSource` that notes what another one could not answer."""

    def __init__(self, transforms: TransformSource) -> None:
        self.missed: dict[str, Miss] = {}
        self._transforms = transforms

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        """See `TransformSource`."""
        try:
            return self._transforms.lookup(target, source, stamp_ns)
        except GeometryError:
            miss = Miss(target, source, stamp_ns)
            self.missed[miss.name] = miss
            raise

    def has_frame(self, frame: str) -> bool:
        """See `TransformSource`."""
        known = self._transforms.has_frame(frame)
        if not known:
            miss = Miss(frame, None, 0)
            self.missed[miss.name] = miss
        return known


class Misses:
    """What the frames of the last second have missed, the oldest of each name.

    The oldest, because what comes later than the next image is still to be noticed; of the last second, because TF that
    begins only now will never answer for what was before.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Miss] = {}

    def update(self, missed: dict[str, Miss]) -> None:
        """Note what the newest frame has missed; all else was answered."""
        for name, miss in missed.items():
            kept = self._kept.get(name)
            if kept is None or not 0 <= miss.stamp_ns - kept.stamp_ns < _KEPT_NS:
                self._kept[name] = miss
        self._kept = {name: miss for name, miss in self._kept.items() if name in missed}

    def answered(self, transforms: TransformSource) -> list[str]:
        """Names of what TF can answer by now, and so came too late; these are forgotten."""
        late = [name for name, miss in self._kept.items() if _answers(transforms, miss)]
        for name in late:
            del self._kept[name]
        return late


def _answers(transforms: TransformSource, miss: Miss) -> bool:
    if miss.source is None:
        return transforms.has_frame(miss.target)
    try:
        transforms.lookup(miss.target, miss.source, miss.stamp_ns)
    except GeometryError:
        return False
    return True
