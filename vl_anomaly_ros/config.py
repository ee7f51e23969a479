# SPDX-License-Identifier: Apache-2.0
"""Every setting of the project, once: default, unit, range and meaning.

The node declares its ROS parameters from here, the command line and YAML files are checked against it, and replay
writes the resolved values beside its results.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_type_hints

from vl_anomaly_ros.errors import ConfigError

MAX_CHARACTERS = 1024  # of a text, such as a path
MAX_LIST = 64
METHODS = ("vl_anomaly", "vl4ad", "clipomaly")
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")  # what a part of a topic name may be
_SHOWN = 100  # characters of a wrong value that a message repeats

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
        parts = value if isinstance(value, tuple) else (value,)
        if len(parts) > MAX_LIST:
            raise ConfigError(f"{name}: expected at most {MAX_LIST} values, got {len(parts)}")
        for number in parts:
            if isinstance(number, str) and (len(number) > MAX_CHARACTERS or not number.isprintable()):
                raise ConfigError(f"{name}: expected up to {MAX_CHARACTERS} printable characters, got {_shown(number)}")
            if isinstance(number, (bool, str)):
                continue
            low, high = self.minimum, self.maximum
            below, above = low is not None and number < low, high is not None and number > high
            if below or above or not abs(number) < math.inf:  # nor NaN
                allowed = f"{'-inf' if low is None else low} to {'inf' if high is None else high} {self.unit}".rstrip()
                raise ConfigError(f"{name}: expected {allowed}, got {_shown(number)}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{name}: expected one of {', '.join(self.choices)}, got {_shown(value)}")


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
    backend: str = setting(
        "auto",
        "Inference backend; auto: the first of the others, in this order, that can be used here",
        choices=("auto", "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime"),
        read_only=True,
    )
    precision: str = setting(
        "fp32",
        "Arithmetic of the image network on TensorRT; fp16 and int8 keep what must be exact in fp32; for int8 "
        "vl-anomaly build-engine has to measure ranges on pictures first",
        choices=("fp32", "fp16", "int8"),
        read_only=True,
    )
    threads: int = setting(
        0,
        "CPU threads for an image, 0: one per core, shared out among the images in work",
        minimum=0,
        maximum=256,
        read_only=True,
    )
    parallel: int = setting(
        1,
        "Images in work at once, each of another camera; more of them use a GPU, or many cores, better, take more "
        "memory, and make each image later",
        minimum=1,
        maximum=8,
        read_only=True,
    )
    timeout_s: float = setting(
        5.0, "An engine that has not answered for so long hangs: it is given up and loaded anew", "s", minimum=0.1
    )
    max_failures: int = setting(3, "After so many failures in a row the engine is loaded anew", minimum=1)
    max_backoff_s: float = setting(
        60.0, "Longest pause between attempts to load the engine; it starts at 1 s and doubles", "s", minimum=1.0
    )


@dataclass(frozen=True)
class MethodConfig:
    """How anomalies are scored: one of the three methods, and terms of its score switched off or weighted otherwise."""

    name: str = setting(
        "vl_anomaly",
        "Method; with the others as they are by default: VL-Anomaly with VL4AD's OOD prompts, VL4AD, or Clipomaly",
        choices=METHODS,
    )
    source_weights: tuple[float, ...] = setting(
        (), "Weights of the detector, text and CLIP scores; empty: the method's, or the bundle's", minimum=0.0
    )
    text_pixel_weight: float = setting(
        0.5, "Share of the pixel alignment in the text score; the rest is the mask alignment", minimum=0.0, maximum=1.0
    )
    clip_dense_weight: float = setting(
        -1.0,
        "Share of CLIP at each pixel in the CLIP score, the rest is CLIP under each mask; -1: the method's, or the "
        "bundle's",
        minimum=-1.0,
        maximum=1.0,
    )
    ensemble_weight: float = setting(
        -1.0,
        "Share of VL4AD's ensemble in the score, the rest is the weighted sources; -1: the method's",
        minimum=-1.0,
        maximum=1.0,
    )
    seen_exponent: float = setting(
        0.4, "Exponent of frozen CLIP in the ensemble, classes of the detector", minimum=0.0, maximum=1.0
    )
    unseen_exponent: float = setting(
        0.8, "Exponent of frozen CLIP in the ensemble, all other classes", minimum=0.0, maximum=1.0
    )
    ood_prompts: str = setting(
        "method", "Whether OOD prompts compete with the known classes", choices=("method", "on", "off")
    )
    merging: bool = setting(True, "The classes of a merge group share their probability")
    max_logit: bool = setting(True, "The best prompt of a class counts; false: the mean of its prompts' embeddings")
    learned_prompts: bool = setting(
        True, "Aligned embeddings are compared with learned prompts; false: with hand-written ones"
    )


@dataclass(frozen=True)
class RegionConfig:
    """From a probability map to regions."""

    threshold: float = setting(
        -1.0, "Anomaly probability from which a pixel counts; -1: the bundle's", minimum=-1.0, maximum=1.0
    )
    min_area_px: int = setting(60, "Smaller regions are left out, in pixels of the input image", "px", minimum=1)
    max_regions: int = setting(
        64, "At most so many regions; of more areas the smallest form the last one together", minimum=1, maximum=65535
    )


@dataclass(frozen=True)
class NamingConfig:
    """Names for regions."""

    min_confidence: float = setting(
        -1.0, "A name less certain is not given; -1: the bundle's", minimum=-1.0, maximum=1.0
    )
    runners_up: int = setting(3, "How many of the next best names are kept", minimum=0, maximum=20)
    strategy: str = setting(
        "dictionary",
        "Where names come from: the vocabulary's candidates, what a tagger sees in the image, or both",
        choices=("dictionary", "tagger", "both"),
    )
    tagger: str = setting("", "Folder of the tagger; empty: there is none", read_only=True)
    max_tags: int = setting(
        32, "At most so many words of a tagger for an image, the best ones", minimum=1, maximum=4096
    )
    growth: str = setting(
        "method",
        "Whether names that images suggest are added to the classes of the segmentation (method: with clipomaly)",
        choices=("method", "on", "off"),
    )
    growth_min_images: int = setting(3, "A name is added once so many images have suggested it", minimum=1)
    growth_max_similarity: float = setting(
        0.92, "A name whose prompts are closer than this to a known class is not added", minimum=-1.0, maximum=1.0
    )
    growth_max_takeover: float = setting(
        0.01,
        "A name is not added if it takes a larger share of the pixels that known classes explain well",
        minimum=0.0,
        maximum=1.0,
    )
    growth_max_age_s: float = setting(5.0, "A name that was not seen for so long is forgotten", "s", minimum=0.0)
    growth_max_words: int = setting(32, "At most so many names are added", minimum=0, maximum=1024)
    growth_keep: float = setting(
        0.5,
        "A region keeps an added name whose confidence is at least this share of the best one's; 1: the best always",
        minimum=0.0,
        maximum=1.0,
    )


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
    deskew: bool = setting(
        True, "Take the ego motion within a sweep out of clouds that give the time of each point (needs fixed_frame)"
    )
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

    policy: str = setting(
        "newest",
        "Which cloud belongs to an image: the newest that is not younger and already here, the nearest (waited for up "
        "to sync.wait_s), or only one of exactly the same stamp (waited for as well)",
        choices=("newest", "nearest", "exact"),
    )
    slop_s: float = setting(0.5, "A cloud farther from the image in time is not used", "s", minimum=0.0, maximum=10.0)
    queue_size: int = setting(
        10,
        "How many clouds, and CameraInfos of each camera, are kept for matching",
        minimum=1,
        maximum=1000,
        read_only=True,
    )
    wait_s: float = setting(
        0.1,
        "How long after its arrival an image waits for its transforms, its CameraInfo and (by policy) its cloud, while "
        "the network runs; with more than 1 s it waits for clouds and transforms each time, else not again in vain",
        "s",
        minimum=0.0,
        maximum=30.0,
    )
    tf_cache_s: float = setting(10.0, "How long transforms are kept", "s", minimum=0.1, maximum=600.0, read_only=True)


@dataclass(frozen=True)
class NodeConfig:
    """Topics, quality of service and supervision of the node."""

    cameras: tuple[str, ...] = setting(
        ("camera",),
        "Names of the cameras; with more than one, topics are prefixed by the name, such as front/image",
        read_only=True,
    )
    image_transport: str = setting("raw", "Which image topic", choices=("raw", "compressed"), read_only=True)
    image_reliability: str = setting(
        "best_effort", "Reliability of sensor subscriptions", choices=("best_effort", "reliable"), read_only=True
    )
    rectified: bool = setting(
        False,
        "The images are rectified: P of CameraInfo holds and its distortion is ignored. False: K and the distortion",
        read_only=True,
    )
    points: bool = setting(True, "Subscribe to a point cloud", read_only=True)
    autostart: bool = setting(False, "Configure and activate without a lifecycle manager", read_only=True)
    diagnostics_period_s: float = setting(
        1.0, "Time between diagnostics", "s", minimum=0.1, maximum=60.0, read_only=True
    )
    stale_after_s: float = setting(1.0, "No image for so long is a fault", "s", minimum=0.05)
    latency_budget_s: float = setting(
        0.5,
        "An image that has waited longer for its turn is published as unknown, not judged; a later result is a fault",
        "s",
        minimum=0.01,
    )


@dataclass(frozen=True)
class Config:
    """All settings. Dotted names such as `regions.threshold` are the ROS parameter names."""

    engine: EngineConfig = EngineConfig()
    method: MethodConfig = MethodConfig()
    regions: RegionConfig = RegionConfig()
    naming: NamingConfig = NamingConfig()
    fusion: FusionConfig = FusionConfig()
    frames: FrameConfig = FrameConfig()
    sync: SyncConfig = SyncConfig()
    node: NodeConfig = NodeConfig()

    def __post_init__(self) -> None:
        for item in described(self):
            item.meaning.check(item.name, item.value)
        names = self.node.cameras
        if not names or len(set(names)) < len(names) or not all(_NAME.fullmatch(name) for name in names):
            raise ConfigError(
                "node.cameras: expected different names of letters, digits and underscores that begin with a letter, "
                f"got {', '.join(map(repr, names)) or 'none'}"
            )
        weights = self.method.source_weights
        if len(weights) not in (0, 3):
            raise ConfigError(f"method.source_weights: expected 3 numbers or none, got {len(weights)}")
        if weights and sum(weights) <= 0:
            raise ConfigError("method.source_weights: expected a positive sum, got 0; raise one weight")
        if self.naming.strategy != "dictionary" and not self.naming.tagger:
            raise ConfigError(
                f"naming.strategy: expected dictionary where naming.tagger names no folder, got {self.naming.strategy}"
            )
        for name in ("clip_dense_weight", "ensemble_weight"):
            if -1 < getattr(self.method, name) < 0:
                raise ConfigError(f"method.{name}: expected -1 or 0 to 1, got {getattr(self.method, name)}")


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
            raise ConfigError(f"{_shown(str(name))[1:-1]}: no such setting; did you mean {near}?")
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
            raise ConfigError(f"{_shown(str(section))[1:-1]}: expected a section with settings, got {_shown(values)}")
        flat.update({f"{section}.{key}": value for key, value in values.items()})
    return with_values(Config(), flat)


def _coerced(name: str, value: Any, hint: Any) -> Value:
    """`value` as the type that the setting has; an int is accepted for a float, a list for a tuple."""
    if hint in (tuple[float, ...], tuple[str, ...]):
        inner = float if hint == tuple[float, ...] else str
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{name}: expected a list, got {_shown(value)}")
        return cast("Value", tuple(_coerced(name, v, inner) for v in value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{name}: expected a float, got an int of {value.bit_length()} bits") from None
    if type(value) is not hint:
        raise ConfigError(f"{name}: expected {hint.__name__}, got {type(value).__name__} {_shown(value)}")
    return cast("Value", value)


def _shown(value: Any) -> str:
    """A value from outside as it may stand in a message: not longer than a line."""
    if isinstance(value, int) and value.bit_length() > _SHOWN:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
