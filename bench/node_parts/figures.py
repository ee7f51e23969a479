# SPDX-License-Identifier: Apache-2.0
"""From what was recorded to figures: latency, age and its trend, loss, fairness, processor and memory."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.node_parts.processes import Cost
from bench.node_parts.scene import PER_CAMERA, SMALL
from bench.node_parts.segment import NODE, Segment
from bench.report import percentiles

_BLOCK_S = 10.0
_DROPPED = re.compile("dropped: (.*)")


def answered(segment: Segment) -> dict[int, tuple[int, int]]:
    """Stamp of each image that was answered in full -> arrival of the last small answer, and of the last of all.

    A floor's answer is small; the node's small ones are those of `SMALL`. Zones, points and markers of several cameras
    may be published once for all: then only the outputs of the image's own camera make its answer full.
    """
    needed = _needed(segment)
    arrivals: dict[int, dict[str, int]] = defaultdict(dict)
    for message in segment.received:
        kind = segment.outputs[message.topic][1]
        name = kind if segment.kind == NODE else message.topic.rpartition("/")[2]
        arrivals[message.stamp_ns][name] = message.at_ns
    small = set(SMALL) if segment.kind == NODE else {"answer"}
    return {
        stamp: (max(at for name, at in found.items() if name in small), max(found.values()))
        for stamp, found in arrivals.items()
        if needed <= set(found)
    }


def _needed(segment: Segment) -> set[str]:
    if segment.kind != NODE:
        return {topic.rpartition("/")[2] for topic in segment.outputs}
    if segment.load.cameras > 1:
        return set(PER_CAMERA)
    return {kind for _, kind in segment.outputs.values()}


def figures(segment: Segment) -> dict[str, Any]:
    """All figures of one stretch. Latency is from the call of `publish` to the subscriber's callback."""
    found = answered(segment)
    rows = [(image, *found[image.stamp_ns]) for image in segment.sent if image.stamp_ns in found]
    made: dict[str, Any] = {
        "kind": segment.kind,
        "load": segment.load.name,
        "seconds": segment.seconds,
        "images_sent": len(segment.sent),
        "images_answered": len(rows),
        "longest_halt_s": round(segment.longest_halt_s, 2),
        "load_1min": round(os.getloadavg()[0], 2),
        "answered_by_camera": dict(Counter(image.camera for image, _, _ in rows)),
    }
    if segment.failure:
        made["failure"] = segment.failure
    if rows:
        counts = [made["answered_by_camera"].get(camera, 0) for camera in {image.camera for image in segment.sent}]
        made["fairness_max_over_min"] = round(max(counts) / min(counts), 3) if min(counts) else None
        made["small_answers"] = percentiles([(small - image.before_ns) * 1e-6 for image, small, _ in rows])
        made["last_output"] = percentiles([(last - image.before_ns) * 1e-6 for image, _, last in rows])
        ages_ms = [(small - image.exposed_ns) * 1e-6 for image, small, _ in rows]
        made["age"] = percentiles(ages_ms) | {"max_ms": round(max(ages_ms), 2)}
        made["age_trend"] = trend([image.before_ns * 1e-9 for image, _, _ in rows], ages_ms)
        made["publish_call"] = percentiles([(image.after_ns - image.before_ns) * 1e-6 for image in segment.sent])
        made["interval_p99_ms"] = round(float(np.percentile(_intervals_ms(rows), 99)), 2) if len(rows) > 1 else None
    if len(segment.costs) > 1:
        made["cpu_percent"] = cpu_percent(segment.costs)
        made["memory"] = memory(segment.costs)
    if segment.kind == NODE:
        made["answer_bytes"] = sum(segment.sizes)
        made["dropped"] = drops(segment.diagnostics)
        made["diagnostics"] = segment.diagnostics
    return made


def _intervals_ms(rows: Sequence[Any]) -> list[float]:
    """Between answers that follow each other."""
    return list(np.diff(sorted(small for _, small, _ in rows)) * 1e-6)


def trend(at_s: Sequence[float], values: Sequence[float], block_s: float = _BLOCK_S) -> dict[str, float] | None:
    """Slope of the medians of blocks by least squares, with its standard error; None of fewer than three blocks.

    Neighbouring values are alike, so that a line through all of them would claim to be surer than it is: blocks are
    longer than that likeness.

    >>> trend([0, 10, 20, 30], [5.0, 6.0, 7.0, 8.0])
    {'slope_per_min': 6.0, 'standard_error': 0.0, 'blocks': 4}
    """
    times = np.asarray(at_s) - min(at_s)
    block = (times // block_s).astype(int)
    medians = [(float(times[block == b].mean()), float(np.median(np.asarray(values)[block == b]))) for b in set(block)]
    if len(medians) < 3:
        return None
    x, y = np.array(medians).T
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    error = float(np.sqrt(residual @ residual / (len(x) - 2) / (x @ x)))
    return {"slope_per_min": round(slope * 60, 3), "standard_error": round(error * 60, 3), "blocks": len(medians)}


def cpu_percent(costs: Sequence[Cost]) -> float:
    """Processor time over time; 100 is one core."""
    return round((costs[-1].cpu_s - costs[0].cpu_s) / (costs[-1].at_s - costs[0].at_s) * 100, 1)


def memory(costs: Sequence[Cost]) -> dict[str, Any]:
    """Resident memory; over at least three minutes also the last minute against the second."""
    made: dict[str, Any] = {
        "rss_mib": round(float(np.median([c.rss_kib for c in costs])) / 1024, 1),
        "anonymous_mib": round(float(np.median([c.anonymous_kib for c in costs])) / 1024, 1),
    }
    start_s, end_s = costs[0].at_s, costs[-1].at_s
    if end_s - start_s >= 180 - 5:
        second = [c for c in costs if 60 <= c.at_s - start_s < 120]
        last = [c for c in costs if end_s - c.at_s < 60]
        for name in ("rss", "anonymous"):
            before, after = (float(np.mean([getattr(c, f"{name}_kib") for c in minute])) for minute in (second, last))
            made[f"{name}_last_over_second_minute_percent"] = round((after / before - 1) * 100, 2)
    return made


def drops(diagnostics: dict[str, Any]) -> dict[str, int]:
    """Images that were not judged, by reason, summed over the cameras."""
    total: Counter[str] = Counter()
    for values in diagnostics.values():
        for key, value in values.items():
            if match := _DROPPED.fullmatch(key):
                total[match[1]] += int(value)
    return dict(total)


def overheads(node: Iterable[dict[str, Any]], tiny: Iterable[dict[str, Any]], full: Iterable[dict[str, Any]]) -> Any:
    """The node minus the floors, each the median over its stretches.

    A difference of two 99th percentiles is not the 99th percentile of the difference: it is what a subscriber sees of
    the tail more than with the floor, and noise of the machine that strikes only one of the two goes into it in full.
    """

    def middle(of: Iterable[dict[str, Any]], what: str, which: str) -> float | None:
        values = [f[what][which] for f in of if what in f]
        return round(float(np.median(values)), 2) if values else None

    node, tiny, full = list(node), list(tiny), list(full)
    made: dict[str, dict[str, float | None]] = {}
    for name, what, floor in (
        ("small_answers_above_tiny_floor", "small_answers", tiny),
        ("small_answers_above_full_floor", "small_answers", full),
        ("last_output_above_full_floor", "last_output", full),
        ("last_output_above_tiny_floor", "last_output", tiny),
    ):
        made[name] = {}
        for which in ("median_ms", "p99_ms"):
            ours, theirs = middle(node, what, which), middle(floor, what, which)
            made[name][which] = None if ours is None or theirs is None else round(ours - theirs, 2)
    return made
