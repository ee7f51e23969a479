# SPDX-License-Identifier: Apache-2.0
"""The source maps of labelled images under every setting of the head that is tried, and the choice among them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vl_anomaly_ros.engine.bundle import MASK_STRIDE
from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner, anomaly_regions
from vl_anomaly_ros.evaluation.fusion_weights import (
    EQUAL,
    Bools,
    Weights,
    figures,
    fuse,
    learned_weights,
    logistic_weights,
)
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import ANOMALY, NORMAL
from vl_anomaly_ros.types import ByteArray, FloatArray

MAX_PIXELS = 2_000_000


@dataclass(frozen=True)
class SettingGrid:
    """What is tried of the head.

    Attributes:
        aligned_tau: temperatures of the aligned softmax.
        clip_tau: temperatures of CLIP's, in units of 1 / logit_scale.
        clip_dense_weight: shares of the per-pixel CLIP probability.
    """

    aligned_tau: tuple[float, ...] = (0.02, 0.04, 0.07, 0.12, 0.2)
    clip_tau: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    clip_dense_weight: tuple[float, ...] = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class HeadSetting:
    """A point of the grid; `clip_tau` absolute."""

    aligned_tau: float
    clip_tau: float
    clip_dense_weight: float


@dataclass
class Samples:
    """What was seen of all images, one entry an image.

    Attributes:
        label: (H, W) uint8, 0 normal, 1 anomaly, 255 void, of the image.
        detector: (h, w) float32 maps at mask resolution.
        text: the same by temperature.
        clip: the same by temperature and share of the per-pixel probability.
        score: of a method that has no weights to learn, by both temperatures.
        names_right, name_confidence: of true anomalies whose category is known, one entry a region.
    """

    label: list[ByteArray] = field(default_factory=list)
    detector: list[FloatArray] = field(default_factory=list)
    text: dict[float, list[FloatArray]] = field(default_factory=dict)
    clip: dict[tuple[float, float], list[FloatArray]] = field(default_factory=dict)
    score: dict[tuple[float, float], list[FloatArray]] = field(default_factory=dict)
    names_right: list[bool] = field(default_factory=list)
    name_confidence: list[float] = field(default_factory=list)

    def truth(self) -> ByteArray:
        """(images, h, w) uint8 label of the pixel in the middle of each cell of the masks."""
        middle = MASK_STRIDE // 2
        return np.stack([label[middle::MASK_STRIDE, middle::MASK_STRIDE] for label in self.label])

    def used(self) -> tuple[Bools, int, Bools]:
        """Which labelled pixels settings are compared on.

        Returns:
            (images, h, w) which are labelled; of these every how many are taken, so that `MAX_PIXELS` are not exceeded;
            (n,) which of those taken are anomalous.
        """
        truth = self.truth()
        used = truth <= ANOMALY
        every = max(1, -(-int(used.sum()) // MAX_PIXELS))
        return used, every, (truth[used] == ANOMALY)[::every]

    def sources(self, setting: HeadSetting) -> FloatArray:
        """(3, images, h, w) float32 under `setting`."""
        clip = self.clip[setting.clip_tau, setting.clip_dense_weight]
        return np.stack([np.stack(maps) for maps in (self.detector, self.text[setting.aligned_tau], clip)])


def collect(
    runner: BundleRunner,
    images: Iterable[LabelledImage],
    grid: SettingGrid,
    min_region_px: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Samples:
    """Run every image under every setting of the grid.

    Args:
        runner: the bundle.
        images: labelled, of the network's size.
        grid: what is tried.
        min_region_px: smaller true regions are not named.
        progress: called with the number of images done.

    Raises:
        EvaluationError: no anomalous or no normal pixel among the images, or images of another size.
    """
    samples = Samples()
    for done, item in enumerate(images, 1):
        visual = runner.visual(item.image)
        samples.label.append(item.label)
        if runner.method == DEFAULT_METHOD:
            _collect_sources(runner, visual, grid, samples)
        else:
            aligned = grid.aligned_tau if runner.uses_aligned else grid.aligned_tau[:1]
            for taus in itertools.product(aligned, grid.clip_tau):
                pair = taus[0], taus[1] / runner.bundle.logit_scale
                samples.score.setdefault(pair, []).append(runner.head(visual, temperatures=pair)[0].copy())
        _collect_names(runner, item, visual, min_region_px, samples)
        progress(done)
    for kind, value in (("anomalous", ANOMALY), ("normal", NORMAL)):
        if not any((label == value).any() for label in samples.label):
            raise EvaluationError(f"calibration: no {kind} pixel in the images; use a set with both kinds")
    return samples


def _collect_sources(
    runner: BundleRunner, visual: Mapping[str, FloatArray], grid: SettingGrid, samples: Samples
) -> None:
    """The source maps of one image. One pass of the head serves a text and a CLIP setting at once."""
    clip_settings = [
        (tau / runner.bundle.logit_scale, dense)
        for tau, dense in itertools.product(grid.clip_tau, grid.clip_dense_weight)
    ]
    for index in range(max(len(clip_settings), len(grid.aligned_tau))):
        clip_tau, dense = clip_settings[index % len(clip_settings)]
        aligned_tau = grid.aligned_tau[index % len(grid.aligned_tau)]
        _, sources, _ = runner.head(visual, (1.0, 1.0, 1.0), (aligned_tau, clip_tau), dense)
        if index < len(clip_settings):
            samples.clip.setdefault((clip_tau, dense), []).append(sources[2].copy())
        if index < len(grid.aligned_tau):
            samples.text.setdefault(aligned_tau, []).append(sources[1].copy())
        if index == 0:
            samples.detector.append(sources[0].copy())


def _collect_names(
    runner: BundleRunner, item: LabelledImage, visual: Mapping[str, FloatArray], min_region_px: int, samples: Samples
) -> None:
    """Name every true anomaly region as the pipeline would: softmax over the candidates' cosines."""
    candidates = runner.bundle.vocabulary.candidates
    if not candidates:
        return
    for record, embedding in anomaly_regions(item, visual, min_region_px):
        logits = runner.bank.candidates @ embedding * runner.bundle.logit_scale
        probabilities = np.exp(logits - logits.max())
        best = int(probabilities.argmax())
        samples.names_right.append(candidates[best] == record["category"])
        samples.name_confidence.append(float(probabilities[best] / probabilities.sum()))


def choose_temperatures(samples: Samples) -> tuple[float, float]:
    """The temperatures of the best AuPRC, for a method that has no weights to learn."""
    used, every, anomalous = samples.used()
    return max(samples.score, key=lambda pair: figures(np.stack(samples.score[pair])[used][::every], anomalous)[0])


@dataclass(frozen=True)
class Chosen:
    """The best setting, the weights learned under it, and those of the convex fit alone."""

    weights: Weights
    logistic: Weights
    setting: HeadSetting


def choose(samples: Samples) -> Chosen:
    """Learn the weights and choose the temperatures, coordinate by coordinate: weights, text, CLIP, weights.

    Settings are compared by the AuPRC; those of each source alone come first. Of more than `MAX_PIXELS` labelled
    pixels every so many are used.
    """
    used, every, anomalous = samples.used()

    def flat(maps: list[FloatArray]) -> FloatArray:
        return np.stack(maps)[used][::every]

    detector = flat(samples.detector)
    text = {key: flat(maps) for key, maps in samples.text.items()}
    clip = {key: flat(maps) for key, maps in samples.clip.items()}

    def auprc(weights: Weights, of_text: float, of_clip: tuple[float, float]) -> float:
        return figures(fuse(weights, np.stack([detector, text[of_text], clip[of_clip]])), anomalous)[0]

    best_text = max(text, key=lambda key: figures(text[key], anomalous)[0])
    best_clip = max(clip, key=lambda key: figures(clip[key], anomalous)[0])
    weights = EQUAL
    for last in (False, True):
        weights = learned_weights(np.stack([detector, text[best_text], clip[best_clip]]), anomalous)
        if not last:
            best_text = max(text, key=lambda key: auprc(weights, key, best_clip))
            best_clip = max(clip, key=lambda key: auprc(weights, best_text, key))
    logistic = logistic_weights(np.stack([detector, text[best_text], clip[best_clip]]), anomalous)
    return Chosen(weights, logistic, HeadSetting(best_text, *best_clip))
