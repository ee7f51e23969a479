# SPDX-License-Identifier: Apache-2.0
"""`/diagnostics`: what the node knows of its own health, as levels, names of degraded modes, and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vl_anomaly_ros.config import Config, EngineConfig
from vl_anomaly_ros.node.keeper import EngineKeeper
from vl_anomaly_ros.node.starting import EngineStart, Start
from vl_anomaly_ros.node.statistics import Snapshot

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class EngineFacts:
    """What is really in use, and how it fares; before there is one, what is asked for.

    Attributes:
        warm_up_ms: how long the start took.
        built: whether it was built at the start.
        rebuilding: why it is loaded anew; empty while it works.
        rebuilds: how often it was.
        start: how far an engine is that is being started.
        refused: why there is none after all.
        now_s: monotonic clock.
    """

    name: str
    backend: str
    precision: str
    device: str
    bundle_sha256: str
    warm_up_ms: float
    vocabulary_revision: int
    built: bool = False
    rebuilding: str = ""
    rebuilds: int = 0
    start: Start | None = None
    refused: str = ""
    now_s: float = 0.0


def engine_facts(config: EngineConfig, keeper: EngineKeeper | None, start: EngineStart, refused: str) -> EngineFacts:
    """The facts of this moment.

    Args:
        config: what is asked for.
        keeper: of the engine; None while the node is being configured.
        start: of the engine, the first time or anew.
        refused: why the node cannot be configured.
    """
    now_s = monotonic()
    if keeper is None:
        begun = start.now or Start(start.begun_s)
        return EngineFacts(
            "none", config.backend, config.precision, "none", "", 0.0, 0, start=begun, refused=refused, now_s=now_s
        )
    pipeline = keeper.latest
    backend = pipeline.engine.backend
    return EngineFacts(
        name=pipeline.engine_name,
        backend=backend.name,
        precision=backend.precision,
        device=backend.device,
        bundle_sha256=pipeline.bundle.sha256,
        warm_up_ms=keeper.load_s * 1e3,
        vocabulary_revision=pipeline.vocabulary_revision,
        built=start.built,
        rebuilding=keeper.why,
        rebuilds=keeper.rebuilds,
        start=start.now,
        now_s=now_s,
    )


@dataclass(frozen=True)
class CameraFacts:
    """One camera: its statistics, None while the node is inactive; images waiting; how its inputs were matched."""

    snapshot: Snapshot | None
    image_waiting: bool = False
    sync_counts: Mapping[str, int] | None = None


@dataclass(frozen=True)
class _Finding:
    """Something that is not as it should be; `mode` is the name of a degraded mode."""

    level: bytes
    mode: str
    words: str


def statuses(
    node_name: str,
    config: Config,
    engine: EngineFacts,
    cameras: Mapping[str, CameraFacts],
    *,
    enabled: bool = True,
    time_jumps: int = 0,
) -> list[DiagnosticStatus]:
    """The status of the engine, and for each camera those of its input, its processing and its matching (sync).

    Args:
        node_name: begins the name of each status.
        config: limits.
        engine: in use.
        cameras: by name.
        enabled: see `~/enable`.
        time_jumps: how often the clock has jumped.
    """
    made = [_named(node_name, "engine", engine.device, _engine(engine))]
    for name, facts in cameras.items():
        parts = {
            "input": _input(config, facts, enabled=enabled),
            "processing": _processing(config, facts.snapshot),
            "sync": _sync(config, facts, time_jumps),
        }
        made += [_named(node_name, f"{name} {part}", name, status) for part, status in parts.items()]
    return made


def _named(node_name: str, name: str, hardware: str, status: DiagnosticStatus) -> DiagnosticStatus:
    status.name, status.hardware_id = f"{node_name}: {name}", hardware
    return status


def _engine(facts: EngineFacts) -> DiagnosticStatus:
    values = {
        "engine": facts.name,
        "backend": facts.backend,
        "precision": facts.precision,
        "device": facts.device,
        "bundle_sha256": facts.bundle_sha256,
        "origin": _origin(facts),
        "warm_up_ms": f"{facts.warm_up_ms:.0f}",
        "vocabulary_revision": facts.vocabulary_revision,
        "rebuilds": facts.rebuilds,
    }
    found = []
    start = "" if facts.start is None else _start(facts.start, facts.now_s)
    if facts.refused:
        found.append(_Finding(ERROR, "engine_refused", facts.refused))
    elif facts.rebuilding:
        found.append(_Finding(ERROR, "engine_rebuilding", "; now ".join(filter(None, [facts.rebuilding, start]))))
    elif start:
        found.append(_Finding(WARN, "engine_starting", start))
    if facts.start is not None and not facts.refused:
        values |= _start_values(facts.start, facts.now_s)
    took = f"{values['origin']} in {facts.warm_up_ms * 1e-3:.1f} s"
    return _status(found, values, f"ready: {facts.backend}, {facts.precision} on {facts.device}, {took}")


def _origin(facts: EngineFacts) -> str:
    """Only TensorRT's engines are built; they, and what others load, are found at the next start."""
    if facts.built:
        return "built"
    return "found" if facts.backend.startswith("tensorrt") else "loaded"


def _start(start: Start, now_s: float) -> str:
    return f"{start.step or 'starting'}, for {now_s - start.since_s:.0f} s"


def _start_values(start: Start, now_s: float) -> dict[str, object]:
    """What an engine that starts is at, in single values."""
    values: dict[str, object] = {"starting_s": f"{now_s - start.since_s:.1f}"}
    if step := start.step:
        values |= {"trying": step.backend, "graph": step.graph or "none", "phase": step.phase}
        values |= {"step": f"{step.done} of {step.total}" if step.total else "none"}
        values |= {"step_s": f"{now_s - start.step_since_s:.1f}"}
    return values


def _input(config: Config, facts: CameraFacts, *, enabled: bool) -> DiagnosticStatus:
    snapshot = facts.snapshot
    if snapshot is None:
        return _inactive()
    found = []
    if snapshot.age_s > config.node.stale_after_s:
        found.append(_Finding(ERROR, "stale_camera", f"no image for {snapshot.age_s:.1f} s"))
    if not enabled:
        found.append(_Finding(WARN, "disabled", "images are not judged"))
    values = {
        "input_rate_hz": f"{snapshot.rate_hz:.2f}",
        "age_of_newest_image_s": f"{snapshot.age_s:.3f}",
        "images_received": snapshot.received,
        "images_dropped": sum(snapshot.dropped.values()),
        "image_waiting": facts.image_waiting,
    }
    values |= {f"dropped: {reason}": count for reason, count in sorted(snapshot.dropped.items())}
    return _status(found, values)


def _processing(config: Config, snapshot: Snapshot | None) -> DiagnosticStatus:
    if snapshot is None:
        return _inactive()
    found = []
    if snapshot.last_failed:
        found.append(_Finding(ERROR, "not_judged", f"the last image could not be judged: {snapshot.last_error}"))
    median_ms, p99_ms = snapshot.times_ms.get("latency", (0.0, 0.0))
    budget_ms = config.node.latency_budget_s * 1e3
    if p99_ms > budget_ms:
        words = f"latency over budget: p50 {median_ms:.0f}, p99 {p99_ms:.0f}, allowed {budget_ms:.0f} ms"
        found.append(_Finding(ERROR if median_ms > budget_ms else WARN, "over_budget", words))
    values: dict[str, object] = {}
    for stage, (p50_ms, p99_of_stage_ms) in snapshot.times_ms.items():
        values[f"{stage}_p50_ms"] = f"{p50_ms:.1f}"
        values[f"{stage}_p99_ms"] = f"{p99_of_stage_ms:.1f}"
    values |= {"frames_judged": snapshot.judged, "frames_failed": snapshot.failed, "last_error": snapshot.last_error}
    return _status(found, values)


def _sync(config: Config, facts: CameraFacts, time_jumps: int) -> DiagnosticStatus:
    snapshot = facts.snapshot
    if snapshot is None:
        return _inactive()
    words = "; ".join(snapshot.missing)
    found = []
    # Without transforms or calibration a planner can use no zone at all; without LiDAR the zones say UNKNOWN.
    if snapshot.no_transforms:
        found.append(_Finding(ERROR, "no_tf", words))
    if snapshot.no_calibration:
        found.append(_Finding(ERROR, "no_camera_info", words))
    if snapshot.no_points and config.node.points and config.fusion.enabled:
        found.append(_Finding(WARN, "no_lidar", words))
    values = {
        "skew_s": "none" if snapshot.skew_s is None else f"{snapshot.skew_s:.3f}",
        "frames_without_points": snapshot.without_points,
        "tf_misses": snapshot.without_transforms,
        "time_jumps": time_jumps,
        "missing": words,
    }
    return _status(found, values | dict(facts.sync_counts or {}))


def _inactive() -> DiagnosticStatus:
    return DiagnosticStatus(level=OK, message="inactive")


def _status(found: list[_Finding], values: Mapping[str, object], fine: str = "ok") -> DiagnosticStatus:
    """A status of the worst level found, which names every degraded mode and says what was found, or `fine`."""
    shown = {"degraded": ", ".join(finding.mode for finding in found) or "no", **values}
    words = dict.fromkeys(finding.words for finding in found)
    message = f"degraded ({shown['degraded']}): {'; '.join(words)}" if found else fine
    return DiagnosticStatus(
        level=max((finding.level for finding in found), default=OK),
        message=message,
        values=[KeyValue(key=key, value=str(value)) for key, value in shown.items()],
    )
