# SPDX-License-Identifier: Apache-2.0
"""Counts and times of the node since it was activated; what diagnostics report."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from vl_anomaly_ros.types import Frame

_WINDOW = 300


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment.

    Attributes:
        received, judged, failed: images, and frames of both outcomes.
        dropped: images that were not judged, by reason.
        rate_hz: input rate over the recent images; 0 with fewer than two.
        age_s: since the newest image came, or since activation without any.
        times_ms: (p50, p99) by stage over the recent frames; stages without a frame are absent.
        without_points, without_transforms: judged frames that lacked a cloud or a transform.
        missing: what the newest judged frame lacked, in words.
        no_points, no_transforms, no_calibration: whether the newest judged frame lacked these.
        skew_s: image stamp minus cloud stamp of the newest frame with a cloud, None before one.
        last_failed: the newest frame could not be judged.
        last_error: the newest error, empty without any.
    """

    received: int
    judged: int
    failed: int
    dropped: dict[str, int]
    rate_hz: float
    age_s: float
    times_ms: dict[str, tuple[float, float]]
    without_points: int
    without_transforms: int
    missing: tuple[str, ...]
    no_points: bool
    no_transforms: bool
    no_calibration: bool
    skew_s: float | None
    last_failed: bool
    last_error: str


@dataclass
class Statistics:
    """Collects from several threads. Times are seconds of the monotonic clock, durations milliseconds."""

    started_s: float
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: Counter[str] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)
    _arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _times_ms: dict[str, deque[float]] = field(default_factory=dict)
    _missing: tuple[str, ...] = ()
    _lacks: tuple[bool, bool, bool] = (False, False, False)
    _skew_s: float | None = None
    _last_failed: bool = False
    _last_error: str = ""

    def image_received(self, at_s: float) -> None:
        """An image came."""
        with self._lock:
            self._counts["received"] += 1
            self._arrivals_s.append(at_s)

    def image_dropped(self, reason: str) -> None:
        """An image will not be judged."""
        with self._lock:
            self._dropped[reason] += 1

    def inputs(self, frame: Frame) -> None:
        """What a frame had and lacked."""
        placed = frame.T_output_camera is not None and (frame.points is None or frame.T_camera_points is not None)
        with self._lock:
            self._counts["without_points"] += frame.points is None
            self._counts["without_transforms"] += not placed
            self._missing = frame.missing
            self._lacks = (frame.points is None, not placed, frame.calibration is None)
            self._skew_s = self._skew_s if frame.points is None else frame.points_age_s

    def frame_judged(self, times_ms: dict[str, float]) -> None:
        """A frame was judged and published."""
        with self._lock:
            self._counts["judged"] += 1
            self._last_failed = False
            for stage, time_ms in times_ms.items():
                self._times_ms.setdefault(stage, deque(maxlen=_WINDOW)).append(time_ms)

    def frame_failed(self, reason: str) -> None:
        """A frame could not be judged, and was published as such."""
        with self._lock:
            self._counts["failed"] += 1
            self._last_failed = True
            self._last_error = reason

    def snapshot(self, now_s: float) -> Snapshot:
        """All of it, consistent, at `now_s`."""
        with self._lock:
            arrivals = list(self._arrivals_s)
            span_s = arrivals[-1] - arrivals[0] if arrivals else 0.0
            return Snapshot(
                received=self._counts["received"],
                judged=self._counts["judged"],
                failed=self._counts["failed"],
                dropped=dict(self._dropped),
                rate_hz=(len(arrivals) - 1) / span_s if span_s > 0 else 0.0,
                age_s=now_s - (arrivals[-1] if arrivals else self.started_s),
                times_ms={
                    stage: (float(np.percentile(times, 50)), float(np.percentile(times, 99)))
                    for stage, times in self._times_ms.items()
                },
                without_points=self._counts["without_points"],
                without_transforms=self._counts["without_transforms"],
                missing=self._missing,
                no_points=self._lacks[0],
                no_transforms=self._lacks[1],
                no_calibration=self._lacks[2],
                skew_s=self._skew_s,
                last_failed=self._last_failed,
                last_error=self._last_error,
            )
