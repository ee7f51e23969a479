# SPDX-License-Identifier: Apache-2.0
"""`/diagnostics`: what the node knows of its own health, as levels and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.node.statistics import Snapshot

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class EngineFacts:
    """What is really in use."""

    name: str
    backend: str
    precision: str
    device: str
    bundle_sha256: str
    warm_up_ms: float
    vocabulary_revision: int


def statuses(
    node_name: str,
    config: Config,
    facts: EngineFacts,
    snapshot: Snapshot | None,
    *,
    enabled: bool = True,
    image_waiting: bool = False,
) -> list[DiagnosticStatus]:
    """The statuses of one camera: input, engine, sync.

    Args:
        node_name: begins the name of each status.
        config: limits.
        facts: of the engine.
        snapshot: None while the node is inactive.
        enabled: see `~/enable`.
        image_waiting: an image waits in the mailbox.
    """
    made = [
        _input(config, snapshot, enabled=enabled, image_waiting=image_waiting),
        _engine(config, facts, snapshot),
        _sync(config, snapshot),
    ]
    for status, part in zip(made, ("input", "engine", "sync")):
        status.name = f"{node_name}: {config.node.camera} {part}"
        status.hardware_id = config.node.camera
    return made


def _input(config: Config, snapshot: Snapshot | None, *, enabled: bool, image_waiting: bool) -> DiagnosticStatus:
    if snapshot is None:
        return _status([(OK, "inactive")], {})
    found = []
    if snapshot.age_s > config.node.stale_after_s:
        found.append((ERROR, f"no image for {snapshot.age_s:.1f} s"))
    if not enabled:
        found.append((WARN, "disabled: images are not judged"))
    values = {
        "input_rate_hz": f"{snapshot.rate_hz:.2f}",
        "age_of_newest_image_s": f"{snapshot.age_s:.3f}",
        "images_received": snapshot.received,
        "images_dropped": sum(snapshot.dropped.values()),
        "image_waiting": image_waiting,
    }
    values |= {f"dropped: {reason}": count for reason, count in sorted(snapshot.dropped.items())}
    return _status(found, values)


def _engine(config: Config, facts: EngineFacts, snapshot: Snapshot | None) -> DiagnosticStatus:
    values: dict[str, object] = {
        "engine": facts.name,
        "backend": facts.backend,
        "precision": facts.precision,
        "device": facts.device,
        "bundle_sha256": facts.bundle_sha256,
        "warm_up_ms": f"{facts.warm_up_ms:.0f}",
        "vocabulary_revision": facts.vocabulary_revision,
    }
    if snapshot is None:
        return _status([(OK, "inactive")], values)
    found = []
    if snapshot.last_failed:
        found.append((ERROR, f"the last image could not be judged: {snapshot.last_error}"))
    median_ms, p99_ms = snapshot.times_ms.get("latency", (0.0, 0.0))
    budget_ms = config.node.max_latency_s * 1e3
    if p99_ms > budget_ms:
        level = ERROR if median_ms > budget_ms else WARN
        found.append((level, f"latency over budget: p50 {median_ms:.0f}, p99 {p99_ms:.0f}, allowed {budget_ms:.0f} ms"))
    for stage, (p50_ms, p99_of_stage_ms) in snapshot.times_ms.items():
        values[f"{stage}_p50_ms"] = f"{p50_ms:.1f}"
        values[f"{stage}_p99_ms"] = f"{p99_of_stage_ms:.1f}"
    values |= {"frames_judged": snapshot.judged, "frames_failed": snapshot.failed, "last_error": snapshot.last_error}
    return _status(found, values)


def _sync(config: Config, snapshot: Snapshot | None) -> DiagnosticStatus:
    if snapshot is None:
        return _status([(OK, "inactive")], {})
    lacking = [clause for clause in snapshot.missing if config.node.points or "node.points" not in clause]
    # Without transforms a planner can use no zone at all; without LiDAR the zones say UNKNOWN.
    level = ERROR if any("transform" in clause for clause in lacking) else WARN
    values = {
        "skew_s": "none" if snapshot.skew_s is None else f"{snapshot.skew_s:.3f}",
        "frames_without_points": snapshot.without_points,
        "tf_misses": snapshot.without_transforms,
        "missing": "; ".join(snapshot.missing),
    }
    return _status([(level, f"degraded: {'; '.join(lacking)}")] if lacking else [], values)


def _status(found: list[tuple[bytes, str]], values: dict[str, object]) -> DiagnosticStatus:
    """A status of the worst level found, which says everything found."""
    return DiagnosticStatus(
        level=max((level for level, _ in found), default=OK),
        message="; ".join(message for _, message in found) or "ok",
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
