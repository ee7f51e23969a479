# SPDX-License-Identifier: Apache-2.0
"""Every setting of a training run, read from one YAML file; unknown keys are refused by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.clip import ClipConfig
from vl_anomaly_ros.model.segmenter import SegmenterConfig

T = TypeVar("T")


@dataclass(frozen=True)
class ImageSetConfig:
    """A simulated image set: its folder under the run folder and what `generate_images` is asked for."""

    path: str
    count: int
    seed: int
    anomalies: str = "none"  # which split of the catalogue: none, seen, unseen or all
    density: float = 2.0  # mean number of anomalies put into a picture
    views_per_scene: int = 10
    world: str = "standard"  # or hard
    looks: tuple[str, ...] = ()  # light and weather, of the world's; none stands for all
    styles: tuple[str, ...] = ()  # surroundings, likewise


@dataclass(frozen=True)
class DataConfig:
    """The four image sets; calibration and test never share a seed with training."""

    clip: ImageSetConfig = ImageSetConfig("clip", 1500, 1000, "seen", 6.0)
    segment: ImageSetConfig = ImageSetConfig("seg", 2000, 2000, "none", 0.0)
    calibration: ImageSetConfig = ImageSetConfig("calib", 150, 3000, "seen", 2.0, 5)
    test: ImageSetConfig = ImageSetConfig("test", 200, 9000, "seen", 2.0, 4)


@dataclass(frozen=True)
class PhaseConfig:
    """Optimisation of one phase."""

    steps: int = 1000
    batch_size: int = 8
    accumulate: int = 1  # batches whose gradients make one step
    crop_height_px: int = 128
    crop_width_px: int = 256
    scale_min: float = 0.7  # pixels of the crop per pixel of the image
    scale_max: float = 1.6
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 100
    gradient_norm: float = 5.0
    ema_decay: float = 0.998
    pasted: float = 0.0  # mean number of made-up shapes pasted into a picture; CLIP alone, as "unknown object"
    bfloat16: bool = True  # where the processor computes in it; elsewhere it would be ten times slower
    validate_every: int = 0  # steps; 0: never
    patience: int = 0  # stop after so many validations in a row without a lower loss; 0: go on to the last step
    validation_images: int = 0  # the last ones of the set, never trained on
    checkpoint_every: int = 200
    log_every: int = 20


@dataclass(frozen=True)
class LossConfig:
    """Weights and temperatures of the losses."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 2.0
    no_object_weight: float = 0.1
    pixel_weight: float = 1.0  # lambda_pix of the PL-Aligner
    query_weight: float = 0.5  # lambda_mask of the PL-Aligner
    aligned_tau: float = 0.07
    specific_weight: float = 0.5  # of a region's own name against more general words
    point_weight: float = 1.0  # of single cells of the dense features against captions
    points: int = 64  # cells a window, every category as likely
    refinement_points: int = 256
    refinement_balanced_share: float = 0.3  # the rest of the cells as they come
    clip_texts: int = 96  # captions a step, those of the regions first
    outlier_weight: float = 0.0  # of the score itself at every cell, in refinements: as the shipped vocabulary gives it
    false_words: str = ""  # a vocabulary whose candidates stand among CLIP's captions where they are true of nothing


@dataclass(frozen=True)
class BundleConfig:
    """What is written beside the weights."""

    name: str = "sim-nano"
    version: str = "0.1.0"
    licence: str = "Apache-2.0"
    width_px: int = 512
    height_px: int = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    learned_contexts: int = 4
    false_regions: float = 0.5  # allowed a frame, on average: from it follows the threshold


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run."""

    seed: int = 0
    processes: int = 2  # of one thread each; a batch is shared among them; with a GPU always 1
    start: str = ""  # a bundle whose weights training goes on from, as `training/recover.py` says
    start_share: float = 0.0  # of its weights in the refined CLIP that is exported, the rest being what training made
    device: str = "auto"  # cpu, cuda, or auto: a GPU where there is one
    data: DataConfig = field(default_factory=DataConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    clip_phase: PhaseConfig = field(default_factory=PhaseConfig)
    clip_refinements: tuple[PhaseConfig, ...] = ()  # text tower locked
    segment_phases: tuple[PhaseConfig, ...] = (PhaseConfig(),)
    loss: LossConfig = field(default_factory=LossConfig)
    bundle: BundleConfig = field(default_factory=BundleConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.start_share < 1 or (self.start_share and not self.start):
            raise TrainingError(
                f"start_share: expected a number from 0 to below 1, and with one above 0 a bundle to start from, got "
                f"{self.start_share} and start {self.start!r}"
            )


def from_mapping(kind: type[T], values: Any, where: str = "config") -> T:
    """Build a dataclass from plain values.

    Raises:
        TrainingError: a key is unknown or the value is no mapping.
    """
    if not isinstance(values, dict):
        raise TrainingError(f"{where}: expected a mapping, got {type(values).__name__}")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise TrainingError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(hints))}")
    built = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    return kind(**built)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, where)  # type: ignore[arg-type]
    arguments = getattr(hint, "__args__", ())
    if arguments and dataclasses.is_dataclass(arguments[0]):
        return tuple(
            from_mapping(arguments[0], item, f"{where}[{i}]")  # type: ignore[arg-type]
            for i, item in enumerate(value)
        )
    if arguments:
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint):
        raise TrainingError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def load_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Raises:
        TrainingError: the file is missing, is no YAML, or holds an unknown setting.
    """
    return from_mapping(TrainingConfig, read_mapping(path), path.name)


def read_mapping(path: Path) -> Any:
    """Read a YAML file; an empty one is an empty mapping.

    Raises:
        TrainingError: the file is missing or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f"cannot read the training configuration {path}: {error}") from error


def to_mapping(config: Any) -> Any:
    """Return plain YAML values of a (nested) configuration."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_mapping(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (tuple, list)):
        return [to_mapping(item) for item in config]
    return config
