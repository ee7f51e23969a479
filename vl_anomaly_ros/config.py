# SPDX-License-Identifier: Apache-2.0
"""Every setting of the project, once: default, unit, range and meaning.

The node declares its ROS parameters from here, the command line and YAML files are checked against it, and replay
writes the resolved values beside its results.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_type_hints

from vl_anomaly_ros.errors import ConfigError

Scalar = bool | int | float | str
Value = Scalar | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Meaning:
    """What a setting means and which values it may take."""

    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    def check(self, name: str, value: Value) -> None:
        """Raise `ConfigError` naming the setting when `value` is not allowed."""
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, (bool, str)):
                continue
            low, high = self.minimum, self.maximum
            if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
                allowed = f"{'-inf' if low is None else low} to {'inf' if high is None else high} {self.unit}".rstrip()
                raise ConfigError(f"{name}: expected {allowed}, got {number}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name}: expected one of {', '.join(self.choices)}, got {value!r}")


def setting(
    default: Any,
    description: str,
    unit: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """A dataclass field that carries its `Meaning`."""
    return field(
        default=default, metadata={"meaning": Meaning(description, unit, minimum, maximum, choices, read_only)}
    )


@dataclass(frozen=True)
class EngineConfig:
    """The network and how it is run."""

    bundle: str = setting("", "Folder of the bundle; empty: the shipped sim-nano", read_only=True)
    backend: str = setting("auto", "Inference backend", choices=("auto", "onnxruntime"), read_only=True)
    threads: int = setting(0, "CPU threads of the backend, 0: one per core", minimum=0, maximum=256, read_only=True)
    source_weights: tuple[float, ...] = setting(
        (), "Weights of the detector, text and CLIP scores; empty: the bundle's", minimum=0.0
    )


@dataclass(frozen=True)
class RegionConfig:
    """From a probability map to regions."""

    threshold: float = setting(
        -1.0, "Anomaly probability from which a pixel counts; -1: the bundle's", minimum=-1.0, maximum=1.0
    )
    min_area_px: int = setting(60, "Smaller regions are left out, in pixels of the input image", "px", minimum=1)
    max_regions: int = setting(64, "At most so many regions, the largest first", minimum=1, maximum=65535)


@dataclass(frozen=True)
class NamingConfig:
    """Names for regions."""

    min_confidence: float = setting(
        -1.0, "A name less certain is not given; -1: the bundle's", minimum=-1.0, maximum=1.0
    )
    runners_up: int = setting(3, "How many of the next best names are kept", minimum=0, maximum=20)


@dataclass(frozen=True)
class FusionConfig:
    """LiDAR fusion: from regions and points to hazard zones."""

    enabled: bool = setting(True, "Use the point cloud")
    min_points: int = setting(10, "A zone with fewer points is SPARSE", minimum=1)
    max_range_m: float = setting(
        80.0, "Farther points are not used; also the length of UNKNOWN wedges", "m", minimum=1.0
    )
    max_point_age_s: float = setting(0.15, "An older cloud makes zones STALE", "s", minimum=0.0)
    ground_clearance_m: float = setting(0.12, "Points closer to the ground belong to it", "m", minimum=0.0)
    cluster_gap_m: float = setting(0.5, "Points farther apart than this are two objects", "m", minimum=0.01)


@dataclass(frozen=True)
class FrameConfig:
    """Coordinate frames."""

    output_frame: str = setting("base_link", "Frame of the hazard zones, z up", read_only=True)
    fixed_frame: str = setting(
        "odom",
        "Frame at rest in the world, for the ego motion between cloud and image; empty or not in TF: not compensated",
        read_only=True,
    )
    ego_frame: str = setting("base_link", "Distances are measured from the origin of this frame", read_only=True)


@dataclass(frozen=True)
class SyncConfig:
    """Matching images, clouds and transforms by time."""

    max_points_offset_s: float = setting(
        0.5, "A cloud farther from the image in time is not used", "s", minimum=0.0, maximum=10.0
    )
    wait_s: float = setting(
        0.1,
        "How long a frame waits for its transforms and for a cloud not older than itself",
        "s",
        minimum=0.0,
        maximum=30.0,
    )
    tf_cache_s: float = setting(10.0, "How long transforms are kept", "s", minimum=0.1, maximum=600.0, read_only=True)


@dataclass(frozen=True)
class NodeConfig:
    """Topics, quality of service and supervision of the node."""

    camera: str = setting("camera", "Name of the camera in messages", read_only=True)
    image_transport: str = setting("raw", "Which image topic", choices=("raw", "compressed"), read_only=True)
    image_reliability: str = setting(
        "best_effort", "Reliability of sensor subscriptions", choices=("best_effort", "reliable"), read_only=True
    )
    points: bool = setting(True, "Subscribe to a point cloud", read_only=True)
    autostart: bool = setting(False, "Configure and activate without a lifecycle manager", read_only=True)
    diagnostics_period_s: float = setting(
        1.0, "Time between diagnostics", "s", minimum=0.1, maximum=60.0, read_only=True
    )
    stale_after_s: float = setting(1.0, "No image for so long is a fault", "s", minimum=0.05)
    max_latency_s: float = setting(0.5, "A later result is a fault", "s", minimum=0.01)


@dataclass(frozen=True)
class Config:
    """All settings. Dotted names such as `regions.threshold` are the ROS parameter names."""

    engine: EngineConfig = EngineConfig()
    regions: RegionConfig = RegionConfig()
    naming: NamingConfig = NamingConfig()
    fusion: FusionConfig = FusionConfig()
    frames: FrameConfig = FrameConfig()
    sync: SyncConfig = SyncConfig()
    node: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        for item in described(self):
            item.meaning.check(item.name, item.value)
        if len(self.engine.source_weights) not in (0, 3):
            raise ConfigError(
                f"engine.source_weights: expected 3 numbers or none, got {len(self.engine.source_weights)}"
            )
        if self.engine.source_weights and sum(self.engine.source_weights) <= 0:
            raise ConfigError("engine.source_weights: expected a positive sum, got 0; raise one weight")


@dataclass(frozen=True)
class Described:
    """One setting with its dotted name and present value."""

    name: str
    value: Value
    meaning: Meaning


def described(config: Config) -> Iterator[Described]:
    """Yield every setting of `config`, in the order of declaration."""
    for section in fields(config):
        values = getattr(config, section.name)
        for item in fields(values):
            meaning = cast("Meaning", item.metadata["meaning"])
            yield Described(f"{section.name}.{item.name}", getattr(values, item.name), meaning)


def to_mapping(config: Config) -> dict[str, dict[str, Any]]:
    """The settings as nested plain values, ready for YAML; tuples become lists."""
    nested: dict[str, dict[str, Any]] = {}
    for item in described(config):
        section, _, name = item.name.partition(".")
        nested.setdefault(section, {})[name] = list(item.value) if isinstance(item.value, tuple) else item.value
    return nested


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of `config` with dotted settings replaced, such as `{"regions.threshold": 0.6}`.

    Raises:
        ConfigError: a name is unknown, or a value has the wrong type or is out of range.
    """
    changed: dict[str, dict[str, Any]] = {}
    known = {item.name: item for item in described(config)}
    for name, value in values.items():
        if name not in known:
            near = ", ".join(sorted(n for n in known if n.split(".")[-1] == name.split(".")[-1])) or ", ".join(known)
            raise ConfigError(f"{name}: no such setting; did you mean {near}?")
        section, _, key = name.partition(".")
        hint = get_type_hints(type(getattr(config, section)))[key]
        changed.setdefault(section, {})[key] = _coerced(name, value, hint)
    sections = {s: dataclasses.replace(getattr(config, s), **v) for s, v in changed.items()}
    return dataclasses.replace(config, **sections)


def from_mapping(nested: Mapping[str, Any]) -> Config:
    """Settings from nested values as `to_mapping` makes them; what is absent keeps its default.

    Raises:
        ConfigError: as `with_values`.
    """
    flat: dict[str, Any] = {}
    for section, values in nested.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section}: expected a section with settings, got {values!r}")
        flat.update({f"{section}.{key}": value for key, value in values.items()})
    return with_values(Config(), flat)


def _coerced(name: str, value: Any, hint: Any) -> Value:
    """`value` as the type that the setting has; an int is accepted for a float, a list for a tuple."""
    if hint in (tuple[float, ...], tuple[str, ...]):
        inner = float if hint == tuple[float, ...] else str
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{name}: expected a list, got {value!r}")
        return cast("Value", tuple(_coerced(name, v, inner) for v in value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{name}: expected {hint.__name__}, got {type(value).__name__} {value!r}")
    return cast("Value", value)
