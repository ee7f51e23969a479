# SPDX-License-Identifier: Apache-2.0
"""Which points of a region are the object: not the background past its edge, not what stands in front of it.

Camera and LiDAR stand apart and masks bleed, so a region also catches points of other things. Three facts tell them
apart: things are separated by gaps wider than the spacing of the beams, the object lies inside the region while
background and occluders go on outside it, and the middle of a region is more certainly the object than its rim.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import boolean, float64, int32, int64

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.geometry.clustering import BEAM_SPACING_RAD, Clusters, IndexArray
from vl_anomaly_ros.types import BoolArray, DoubleArray, IntArray

MIN_SHARE = 0.3
"""A cluster counts as a candidate from this share of the best one's score; of the candidates the nearest is taken."""
PART_GAPS = 3
"""Parts of one thing may lie so many gaps apart in range: a bonnet seen at a grazing angle returns nothing between the
grille and the windscreen. The background is another thing because it goes on outside the region, however close."""
WHOLE_INSIDE = 0.7
"""A cluster with less of it inside the region may be the object and what it stands beside."""
MIN_INSIDE = 0.5
"""From this share inside the region, a part is the object's own."""
# Columns of the table of a region's clusters.
_NEAR, _FAR, _INSIDE, _ALL, _SCORE, _OWN = range(6)


class Candidates(NamedTuple):
    """Points in and around regions, region after region; a point near two regions stands twice.

    Attributes:
        ends: (regions + 1,) int64, those of region r are from ends[r] to ends[r + 1].
        place: (N,) int64 which of the places that were clustered each is, -1 for what is no candidate.
        weight: (N,) how deep inside the region, 0 outside.
        range_m: (places,) from the camera, along the ground.
    """

    ends: IndexArray
    place: IndexArray
    weight: DoubleArray
    range_m: DoubleArray


def choose_objects(points: Candidates, clusters: Clusters, gap_m: float, farthest_m: DoubleArray) -> BoolArray:
    """(N,) which of the points are their region's object; none of a region where no cluster qualifies.

    An object that stands close to a wall or a hedge forms one cluster with it, most of which goes on outside the
    region: there the finer clusters are used.

    Args:
        points: in and around the regions.
        clusters: of the places.
        gap_m: by which they were clustered.
        farthest_m: (regions,) where the line of sight through the foot of each region meets the ground. What begins
            farther off cannot be the object, it is only seen past it.
    """
    return _chosen(*points, *clusters, gap_m, farthest_m, BEAM_SPACING_RAD)


@kernel(
    array(int64, 1)(
        view(int64, 1), view(float64, 1), view(float64, 1), view(int32, 1), float64,
        array(float64, 2),
    )
)  # fmt: skip
def _judged(
    place: IndexArray,
    weight: DoubleArray,
    range_m: DoubleArray,
    label: IntArray,
    farthest_m: float,
    table: DoubleArray,
) -> IndexArray:
    """The labels of one region's points, each once. Their rows of the table are cleared and filled, but for _OWN."""
    parts, count = np.empty(len(place), np.int64), 0
    for at in place:
        if at >= 0:
            table[label[at], _ALL] = 0
    for n in range(len(place)):
        at = place[n]
        if at < 0:
            continue
        part = table[label[at]]
        if part[_ALL] == 0:
            parts[count] = label[at]
            count += 1
            part[:] = 0
            part[_NEAR] = math.inf
        part[_ALL] += 1
        if weight[n] > 0:
            part[_NEAR], part[_FAR] = min(part[_NEAR], range_m[at]), max(part[_FAR], range_m[at])
            part[_INSIDE] += 1
            part[_SCORE] += weight[n]
    for k in range(count):
        part = table[parts[k]]
        part[_SCORE] = part[_SCORE] * part[_INSIDE] / part[_ALL] if part[_NEAR] <= farthest_m else 0.0
    return np.copy(parts[:count])


@kernel(int64(view(int64, 1), view(float64, 2)))
def _main(parts: IndexArray, table: DoubleArray) -> int:
    """The nearest of the clusters that score well; -1 where none scores."""
    best, main = 0.0, -1
    for part in parts:
        best = max(best, table[part, _SCORE])
    for part in parts:
        good = best > 0 and table[part, _SCORE] >= MIN_SHARE * best
        if good and (main < 0 or table[part, _NEAR] < table[main, _NEAR]):
            main = part
    return main


@kernel(int64(int64, view(int64, 1), float64, float64, array(float64, 2)))
def _take_parts(main: int, parts: IndexArray, gap_m: float, spacing_rad: float, table: DoubleArray) -> int:
    """Mark the main cluster and the other parts of the same thing, which follow it in range; how many these are."""
    table[main, _OWN] = 1
    first, last = table[main, _NEAR], table[main, _FAR]
    taken, before = 1, 0
    while taken > before:
        before = taken
        for k in parts:
            part = table[k]
            if part[_OWN] or part[_SCORE] == 0 or part[_INSIDE] < MIN_INSIDE * part[_ALL]:
                continue
            reach = PART_GAPS * max(gap_m, spacing_rad * part[_NEAR])
            if part[_NEAR] <= last + reach and part[_FAR] >= first - reach:
                part[_OWN] = 1
                first, last, taken = min(first, part[_NEAR]), max(last, part[_FAR]), taken + 1
    return taken


@kernel(
    float64(
        array(boolean, 1), view(int64, 1), view(float64, 1), view(float64, 1), view(int32, 1),
        float64, float64, float64, array(float64, 2),
    )
)  # fmt: skip
def _choose(
    chosen: BoolArray,
    place: IndexArray,
    weight: DoubleArray,
    range_m: DoubleArray,
    label: IntArray,
    gap_m: float,
    farthest_m: float,
    spacing_rad: float,
    table: DoubleArray,
) -> float:
    """Choose one region's points by these clusters; the main one's share inside the region, -1 where none qualifies.

    `table` has a row for each label.
    """
    parts = _judged(place, weight, range_m, label, farthest_m, table)
    main = _main(parts, table)
    if main < 0:
        return -1.0
    _take_parts(main, parts, gap_m, spacing_rad, table)
    for n in range(len(place)):
        chosen[n] = weight[n] > 0 and place[n] >= 0 and table[label[place[n]], _OWN] == 1
    return float(table[main, _INSIDE] / table[main, _ALL])


@kernel(
    array(boolean, 1)(
        view(int64, 1), view(int64, 1), view(float64, 1), view(float64, 1), view(int32, 1),
        view(int32, 1), float64, view(float64, 1), float64,
    )
)  # fmt: skip
def _chosen(
    ends: IndexArray,
    place: IndexArray,
    weight: DoubleArray,
    range_m: DoubleArray,
    coarse: IntArray,
    fine: IntArray,
    gap_m: float,
    farthest_m: DoubleArray,
    spacing_rad: float,
) -> BoolArray:
    """See `choose_objects`."""
    chosen = np.zeros(len(place), np.bool_)
    table = np.zeros((len(range_m), 6))  # there are no more labels than places
    for r in range(len(farthest_m)):
        here = slice(ends[r], ends[r + 1])
        region = place[here], weight[here]
        share = _choose(chosen[here], *region, range_m, coarse, gap_m, farthest_m[r], spacing_rad, table)
        if 0 <= share < WHOLE_INSIDE:  # where none of the finer ones qualifies, nothing is changed
            _choose(chosen[here], *region, range_m, fine, gap_m, farthest_m[r], spacing_rad, table)
    return chosen
