# SPDX-License-Identifier: Apache-2.0
"""Names for regions by their own CLIP features, and the segmentation that includes them.

The rule is CLIP-Best of "Language-Guided Open-World Anomaly Segmentation" (arXiv 2512.01427): a region takes the
candidate that matches its mask-pooled CLIP features best.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.perception.regions import Regions, cell_areas
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import AnomalyLabel, DoubleArray, FloatArray, IntArray, NameSource, Region

UNNAMED = "unknown"
"""Class name of anomalies without a name."""


def name_regions(
    regions: Regions,
    clip_features: FloatArray,
    vocabulary: Vocabulary,
    candidates: FloatArray,
    *,
    logit_scale: float,
    min_confidence: float,
    runners_up: int,
) -> tuple[Region, ...]:
    """The regions with their labels.

    Confidence is the softmax over all candidates of logit_scale x cosine. A name below `min_confidence` is not given,
    but it leads the runners-up. A name that is also a word of the vocabulary is approved.

    Args:
        regions: of the image.
        clip_features: (D, hc, wc) float32 dense CLIP features of the image.
        vocabulary: holds the dictionary.
        candidates: (N, D) unit rows, the embeddings of `vocabulary.candidates`.
        logit_scale: CLIP's factor from cosine to logit.
        min_confidence: 0..1.
        runners_up: how many of the next best names are kept.
    """
    if not regions.regions or len(candidates) == 0:
        return regions.regions
    pooled = pooled_features(regions, clip_features)
    confidences = softmax(logit_scale * pooled @ candidates.T.astype(np.float64))
    return tuple(
        replace(region, label=_label(row, vocabulary, min_confidence, runners_up))
        for region, row in zip(regions.regions, confidences)
    )


def pooled_features(regions: Regions, clip_features: FloatArray) -> DoubleArray:
    """(n, D) unit CLIP features of the n regions.

    g = sum m G / sum m, where m is how many of the region's pixels lie in a feature cell; then normalised.

    Args:
        regions: of the image.
        clip_features: (D, hc, wc) float32, covering the same extent.
    """
    size, height, width = clip_features.shape
    pooled = np.zeros((len(regions.regions), size))
    for row, region in zip(pooled, regions.regions):
        areas, (rows, columns) = cell_areas(regions.instances, region.id, region.bbox, (height, width))
        cells = clip_features[:, rows, columns].astype(np.float64)
        row[:] = np.tensordot(cells, areas.astype(np.float64))
    return np.asarray(pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12))


def softmax(logits: DoubleArray) -> DoubleArray:
    """Softmax over the last axis.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def extended_segmentation(
    class_map: IntArray, regions: Regions, named: tuple[Region, ...], known_names: tuple[str, ...]
) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], tuple[str, ...]]:
    """Class index of each pixel, and the names of the indices: known classes, then this image's anomaly names.

    An anomaly never takes the index of a known class, even if they share a name. Anomalous pixels without a name are
    "unknown".

    Args:
        class_map: (H, W) int32 known class indices.
        regions: of the image.
        named: the same regions with their labels.
        known_names: names of the known classes.

    Returns:
        (H, W) uint8, or uint16 where there are more than 256 names; and the names.
    """
    names = [region.label.name or UNNAMED for region in named]
    mask, instances = regions.mask[regions.box], regions.instances[regions.box]
    beyond = bool(np.any((mask != 0) & (instances == 0)))
    added = tuple(dict.fromkeys([*names, UNNAMED] if beyond else names))
    class_names = (*known_names, *added)
    segmentation: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    segmentation = class_map.astype(np.uint8) if len(class_names) <= 256 else class_map.astype(np.uint16)
    if added:
        indices = [added.index(UNNAMED) if beyond else 0, *(added.index(name) for name in names)]
        index_of_id = np.array(indices, segmentation.dtype) + segmentation.dtype.type(len(known_names))
        np.copyto(segmentation[regions.box], np.take(index_of_id, instances), where=mask != 0)
    return segmentation, class_names


def _label(confidences: DoubleArray, vocabulary: Vocabulary, min_confidence: float, runners_up: int) -> AnomalyLabel:
    # A stable sort: of equally good names the first of the dictionary wins, on every machine.
    best = [int(index) for index in np.argsort(-confidences, kind="stable")[: runners_up + 1]]
    ranked = tuple((vocabulary.candidates[index], float(confidences[index])) for index in best)
    name, confidence = ranked[0]
    if confidence < min_confidence:
        return AnomalyLabel(runners_up=ranked[:runners_up])
    approved = vocabulary.approves(name)
    source = NameSource.VOCABULARY if approved else NameSource.DICTIONARY
    return AnomalyLabel(name, source, confidence, approved, ranked[1:])
