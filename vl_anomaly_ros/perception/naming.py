# SPDX-License-Identifier: Apache-2.0
"""Names for regions by their own CLIP features.

The rule is CLIP-Best of "Language-Guided Open-World Anomaly Segmentation" (arXiv 2512.01427): a region takes the
candidate that matches its mask-pooled CLIP features best.
"""

from __future__ import annotations

from collections.abc import Collection

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.perception.areas import IndexArray, grid
from vl_anomaly_ros.perception.regions import Regions
from vl_anomaly_ros.text.bank import Candidates
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import AnomalyLabel, DoubleArray, FloatArray, NameSource, Region, check_array


def name_regions(
    regions: Regions,
    clip_features: FloatArray,
    vocabulary: Vocabulary,
    candidates: Candidates,
    *,
    logit_scale: float,
    min_confidence: float,
    runners_up: int,
    kept: Collection[str] = (),
    keep: float = 1.0,
) -> tuple[Region, ...]:
    """The regions with their labels.

    Confidence is the softmax over all candidates of logit_scale x cosine. A name below `min_confidence` is not given,
    but it leads the runners-up. A name that is also a word of the vocabulary is approved. Areas that were merged for
    want of room are many things, and get no name.

    Args:
        regions: of the image.
        clip_features: (D, hc, wc) float32 dense CLIP features of the image.
        vocabulary: says which words a person approved.
        candidates: names to choose from.
        logit_scale: CLIP's factor from cosine to logit.
        min_confidence: 0..1.
        runners_up: how many of the next best names are kept.
        kept: names that go before others, so that a region's name does not change from image to image.
        keep: least share of the best name's confidence that such a name must have.

    Raises:
        DataError: the rows of `candidates` do not fit its words or the features.
    """
    words = candidates.words
    check_array("candidates", candidates.rows, (len(words), len(clip_features)), np.float32)
    if not regions.regions or not words:
        return regions.regions
    pooled = pooled_features(regions, clip_features)
    best, confidences = _best(pooled, np.ascontiguousarray(candidates.rows), logit_scale, runners_up + 1)
    named = []
    for region, places, shares in zip(regions.regions, best.tolist(), confidences.tolist()):
        if region.merged > 1:
            named.append(region)
            continue
        ranked = _kept_first([(words[place], share) for place, share in zip(places, shares)], kept, keep)
        label = _label(ranked, vocabulary, candidates.tagged, min_confidence, runners_up)
        # As `dataclasses.replace` does, in a third of the time.
        of_region = (region.id, region.bbox, region.area_px, region.centroid_px, region.probability, region.sources)
        named.append(Region(*of_region, label))
    return tuple(named)


def pooled_features(regions: Regions, clip_features: FloatArray) -> DoubleArray:
    """(n, D) unit CLIP features of the n regions.

    g = sum m G / sum m, where m is how many of the region's pixels lie in a feature cell; then normalised.

    Args:
        regions: of the image.
        clip_features: (D, hc, wc) float32, covering the same extent.
    """
    height, width = regions.instances.shape
    pooled: DoubleArray = _pool(
        clip_features, regions.runs, regions.starts, *grid(width, height, clip_features.shape[1:])
    )
    return pooled


@kernel(
    numba.types.Tuple((array(numba.uint32, 1), array(numba.uint32, 1), array(numba.float64, 1), array(numba.int64, 1)))(
        view(numba.int64, 2), view(numba.int64, 1), view(numba.int64, 1), view(numba.int64, 1), view(numba.int64, 1)
    )
)
def _cells(
    runs: IndexArray, starts: IndexArray, rows: IndexArray, columns: IndexArray, column_edges: IndexArray
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32], DoubleArray, IndexArray]:
    """The cells that regions lie in: row, column and number of pixels, region after region, row by row.

    Returns:
        These, without a sign so that to read a cell needs no look whether it counts from the end; and where the cells
        of each region begin, and the end.
    """
    room = 0  # for every run in every cell
    for run in range(len(runs)):
        room += columns[runs[run, 2] - 1] - columns[runs[run, 1]] + 1
    row_of, column_of, pixels = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room)
    begins, count = np.zeros(len(starts), np.int64), 0
    in_row = np.zeros(len(column_edges) - 1)  # pixels of one region in each cell of one row
    for region in range(len(starts) - 1):
        for run in range(starts[region], starts[region + 1]):
            row, x, end = rows[runs[run, 0]], runs[run, 1], runs[run, 2]
            cell = columns[x]
            while x < end:
                behind = min(column_edges[cell + 1], end)
                in_row[cell] += behind - x
                x, cell = behind, cell + 1
            if run + 1 == starts[region + 1] or rows[runs[run + 1, 0]] != row:
                for cell in range(len(in_row)):
                    if in_row[cell] > 0:
                        row_of[count], column_of[count], pixels[count] = row, cell, in_row[cell]
                        in_row[cell] = 0
                        count += 1
        begins[region + 1] = count
    return row_of[:count], column_of[:count], pixels[:count], begins


@kernel(
    array(numba.float64, 2)(
        numba.types.Array(numba.float32, 3, "A", readonly=True),  # a part of the network's output, not copied
        view(numba.int64, 2),
        view(numba.int64, 1),
        view(numba.int64, 1),
        view(numba.int64, 1),
        view(numba.int64, 1),
    ),
    long=True,
)
def _pool(
    features: FloatArray,
    runs: IndexArray,
    starts: IndexArray,
    rows: IndexArray,
    columns: IndexArray,
    column_edges: IndexArray,
) -> DoubleArray:
    """Sum of the features over the pixels of each region, at unit length, (n, D)."""
    row_of, column_of, pixels, begins = _cells(runs, starts, rows, columns, column_edges)
    size = len(features)
    pooled = np.empty((len(starts) - 1, size))
    for a in range(0, size, 4):  # four at once: one sum would wait for its last addition
        b, c, d = min(a + 1, size - 1), min(a + 2, size - 1), min(a + 3, size - 1)
        for region in range(len(pooled)):
            sum_a = sum_b = sum_c = sum_d = 0.0
            for i in range(begins[region], begins[region + 1]):
                row, column, weight = row_of[i], column_of[i], pixels[i]
                sum_a += weight * features[a, row, column]
                sum_b += weight * features[b, row, column]
                sum_c += weight * features[c, row, column]
                sum_d += weight * features[d, row, column]
            sums = pooled[region]
            sums[a], sums[b], sums[c], sums[d] = sum_a, sum_b, sum_c, sum_d
    for region in range(len(pooled)):
        pooled[region] /= max(np.sqrt(np.sum(pooled[region] ** 2)), 1e-12)
    return pooled


@kernel(
    numba.types.Tuple((array(numba.int64, 2), array(numba.float64, 2)))(
        view(numba.float64, 2), view(numba.float32, 2), numba.float64, numba.int64
    )
)
def _best(
    pooled: DoubleArray, candidates: FloatArray, logit_scale: float, count: int
) -> tuple[IndexArray, DoubleArray]:
    """The `count` best candidates of each region, or all, and the softmax over all candidates at these."""
    columns = np.empty((candidates.shape[1], len(candidates)))
    for candidate in range(len(candidates)):
        for feature in range(len(columns)):
            columns[feature, candidate] = candidates[candidate, feature]
    count = min(count, len(candidates))
    best, confidences = np.empty((len(pooled), count), np.int64), np.empty((len(pooled), count))
    for region in range(len(pooled)):
        cosines = np.zeros(len(candidates))
        for feature in range(len(columns)):
            for candidate in range(len(candidates)):
                cosines[candidate] += pooled[region, feature] * columns[feature, candidate]
        shares = np.exp(logit_scale * (cosines - cosines.max()))
        shares /= shares.sum()
        for place in range(count):
            first = np.argmax(shares)  # of equally good names the first of the dictionary wins, on every machine
            best[region, place], confidences[region, place] = first, shares[first]
            shares[first] = -1
    return best, confidences


def _kept_first(ranked: list[tuple[str, float]], kept: Collection[str], keep: float) -> tuple[tuple[str, float], ...]:
    """The best of the kept names moved to the front, where it is good enough.

    >>> _kept_first([("dog", 0.5), ("sheep", 0.4), ("cow", 0.1)], {"sheep"}, keep=0.7)
    (('sheep', 0.4), ('dog', 0.5), ('cow', 0.1))
    """
    for item in ranked:
        if item[0] in kept and item[1] >= keep * ranked[0][1]:
            return (item, *(other for other in ranked if other is not item))
    return tuple(ranked)


def _label(
    ranked: tuple[tuple[str, float], ...],
    vocabulary: Vocabulary,
    tagged: Collection[str],
    min_confidence: float,
    runners_up: int,
) -> AnomalyLabel:
    """The label of a region with these names and confidences, the best first."""
    name, confidence = ranked[0]
    if confidence < min_confidence:
        return AnomalyLabel(runners_up=ranked[:runners_up])
    approved = vocabulary.approves(name)
    suggested = NameSource.TAGGER if name in tagged else NameSource.DICTIONARY
    source = NameSource.VOCABULARY if approved else suggested
    return AnomalyLabel(name, source, confidence, approved, ranked[1:])
