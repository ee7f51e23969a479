# SPDX-License-Identifier: Apache-2.0
"""The figures of a replay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.types import DepthStatus


def percentiles(values_ms: Iterable[float]) -> dict[str, float | None]:
    """Median and 99th percentile, None without values.

    >>> percentiles([1.0, 2.0, 4.0])
    {'p50': 2.0, 'p99': 3.96}
    """
    values = [v for v in values_ms if math.isfinite(v)]
    if not values:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def summarise(
    records: Sequence[FrameRecord], *, frames_in: int, dropped: int, method: str, backend: str, bundle_sha256: str
) -> dict[str, Any]:
    """Content of summary.json.

    Args:
        records: of all frames that were tried.
        frames_in: images that the recording holds for the chosen cameras (and the chosen number of frames).
        dropped: images for which no answer came at all; they count as failed too.
        method: how anomalies were scored.
        backend: what ran the network.
        bundle_sha256: which bundle.
    """
    judged = [r for r in records if r.ok]
    status = Counter(zone.status for record in judged for zone in record.zones)
    return {
        "frames_in": frames_in,
        "frames_out": len(judged),
        "frames_failed": frames_in - len(judged),
        "regions": sum(len(r.regions) for r in judged),
        "zones": sum(status.values()),
        "zones_by_status": {s.name: status.get(s.name, 0) for s in DepthStatus},
        "dropped": dropped,
        "timing_ms": {
            "engine": percentiles(r.engine_ms for r in judged),
            "overhead": percentiles(r.total_ms - r.engine_ms for r in judged),
            "total": percentiles(r.total_ms for r in judged),
        },
        "method": method,
        "backend": backend,
        "bundle_sha256": bundle_sha256,
    }
