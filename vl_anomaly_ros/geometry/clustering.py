# SPDX-License-Identifier: Apache-2.0
"""Which points hang together: by the whole gap between things, and by half of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import float64, int32, int64, void
from numba.types import Tuple

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import DoubleArray, IntArray

IndexArray = npt.NDArray[np.int64]
COLUMNS_A_GAP = 3
BEAM_SPACING_RAD = 0.008
"""Neighbouring returns of one surface may be this far apart sideways, seen from the sensor (scanners turn by 0.1 to 0.4
degrees from shot to shot; one may be lost)."""
VERTICAL_WEIGHT = 0.33
"""Height differences count by so much: beams leave wider gaps up and down a surface than along it."""
_BITS = 0xFFFFF
_NONE = -1
_LARGEST = 1e15
_SIDES = ((0, 0), (1, -1), (1, 0), (1, 1), (0, 1))
"""A cell and half of those around it: with the others it is compared when it is their turn."""


class Clusters(NamedTuple):
    """Labels from 0 of connected points, (N,) int32: by the whole gap, and by half of it."""

    coarse: IntArray
    fine: IntArray


def cluster(xyz: DoubleArray, gap_m: float) -> Clusters:
    """Label points that are connected by steps shorter than a gap that grows with range.

    Points one above the other in a narrow column of space are taken as one upright stroke from the lowest to the
    highest: strokes are few, and of two of them it is known exactly how far they pass each other in height.

    Args:
        xyz: (N, 3) metres, level axes near the sensor.
        gap_m: widest step near the sensor; farther off it is range times `BEAM_SPACING_RAD`.

    >>> cluster(np.array([[5.0, 0, 0], [5.2, 0, 0], [5.6, 0, 0], [7.0, 0, 0]]), 0.5)
    Clusters(coarse=array([0, 0, 0, 1], dtype=int32), fine=array([0, 0, 1, 2], dtype=int32))
    """
    stroke, strokes = _strokes(
        np.ascontiguousarray(xyz, np.float64), gap_m / COLUMNS_A_GAP, gap_m / 2 / VERTICAL_WEIGHT
    )
    return Clusters(*_labels(stroke, strokes, gap_m))


@kernel(int64(int64, array(int64, 1)))
def _root(node: int, parent: IndexArray) -> int:
    """The first of those that are connected with a node; ways to it are halved."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@kernel(void(int64, int64, array(int64, 1)))
def _join(a: int, b: int, parent: IndexArray) -> None:
    """Connect two nodes; the first node of all that hang together stays their root."""
    if parent[a] != parent[b]:  # mostly they are connected already
        a, b = _root(a, parent), _root(b, parent)
        parent[max(a, b)] = min(a, b)


@kernel(int64(float64))
def _floor(value: float) -> int:
    """The next lower whole number; 0 for what is none, or too large to be counted on from."""
    return math.floor(value) if abs(value) < _LARGEST else 0


@kernel(int64(int64, int64, int64, view(int64, 2), view(int64, 1)))
def _slot(i: int, j: int, k: int, cells: IndexArray, table: IndexArray) -> int:
    """Where a cell's number stands in a hash table, or the empty place where it belongs."""
    mixed = ((i & _BITS) * 73856093) ^ ((j & _BITS) * 19349663) ^ ((k & _BITS) * 83492791)
    slot = (mixed ^ (mixed >> 17)) & (len(table) - 1)
    while table[slot] != _NONE:
        cell = cells[table[slot]]
        if cell[0] == i and cell[1] == j and cell[2] == k:
            break
        slot = (slot + 1) & (len(table) - 1)
    return slot


@kernel(array(int64, 1)(int64))
def _table(count: int) -> IndexArray:
    """An empty hash table for so many cells: at most half of it gets full, so that a search in it ends."""
    size = 16
    while size < 2 * count:
        size *= 2
    return np.full(size, _NONE)


@kernel(Tuple((array(int64, 1), array(float64, 2)))(view(float64, 2), float64, float64), long=True)
def _strokes(xyz: DoubleArray, width_m: float, gap_m: float) -> tuple[IndexArray, DoubleArray]:
    """Points of one column of space without a wider gap in height between them.

    Columns are cut into cells as high as the gap: none is wider within a cell, and any is that leaves out a cell.

    Returns:
        (N,) stroke of each point, and (M, 4) mean x and y, lowest and highest z of each stroke.
    """
    cell, cells, table = np.empty(len(xyz), np.int64), np.empty((len(xyz), 3), np.int64), _table(len(xyz))
    ends, count = np.empty((len(xyz), 2)), 0
    for n in range(len(xyz)):
        x, y, z = xyz[n, 0], xyz[n, 1], xyz[n, 2]
        i, j, k = _floor(x / width_m), _floor(y / width_m), _floor(z / gap_m)
        slot = _slot(i, j, k, cells, table)
        if table[slot] == _NONE:
            table[slot] = count
            cells[count, 0], cells[count, 1], cells[count, 2] = i, j, k
            ends[count, 0] = ends[count, 1] = z
            count += 1
        cell[n] = table[slot]
        ends[cell[n], 0], ends[cell[n], 1] = min(ends[cell[n], 0], z), max(ends[cell[n], 1], z)
    connected = np.arange(count)
    for c in range(count):
        below = table[_slot(cells[c, 0], cells[c, 1], cells[c, 2] - 1, cells, table)]
        if below != _NONE and ends[c, 0] - ends[below, 1] <= gap_m:
            _join(c, below, connected)
    number, strokes, found = np.empty(count, np.int64), np.zeros((count, 4)), 0
    for c in range(count):
        root = _root(c, connected)  # the first of its stroke
        if root == c:
            number[c] = found
            strokes[found, 2], strokes[found, 3] = ends[c, 0], ends[c, 1]
            found += 1
        number[c] = k = number[root]
        strokes[k, 2], strokes[k, 3] = min(strokes[k, 2], ends[c, 0]), max(strokes[k, 3], ends[c, 1])
    points = np.zeros(found)
    for n in range(len(xyz)):
        cell[n] = k = number[cell[n]]
        strokes[k, 0] += xyz[n, 0]
        strokes[k, 1] += xyz[n, 1]
        points[k] += 1
    for k in range(found):
        strokes[k, 0] /= points[k]
        strokes[k, 1] /= points[k]
    return cell, strokes[:found]


@kernel(array(int32, 1)(view(int64, 1), array(int64, 1)))
def _counted_up(stroke: IndexArray, parent: IndexArray) -> IntArray:
    """Labels of the points, counted up in the order of their strokes."""
    label_of, count = np.empty(len(parent), np.int32), 0
    for k in range(len(parent)):
        root = _root(k, parent)  # the first of all that hang together
        if root == k:
            label_of[k] = count
            count += 1
        label_of[k] = label_of[root]
    labels = np.empty(len(stroke), np.int32)
    for n in range(len(stroke)):
        labels[n] = label_of[stroke[n]]
    return labels


@kernel(Tuple((array(int64, 2), array(int64, 1), array(int64, 1), array(int64, 1)))(view(float64, 2), float64))
def _cells(strokes: DoubleArray, width_m: float) -> tuple[IndexArray, IndexArray, IndexArray, IndexArray]:
    """Strokes listed by cells of the ground.

    Returns:
        (cells, 3) numbers of the cells, their hash table, the newest stroke of each, (strokes,) the one before each.
    """
    cells, table, count = np.empty((len(strokes), 3), np.int64), _table(len(strokes)), 0
    newest, before = np.full(len(strokes), _NONE), np.empty(len(strokes), np.int64)
    for k in range(len(strokes)):
        i, j = _floor(strokes[k, 0] / width_m), _floor(strokes[k, 1] / width_m)
        slot = _slot(i, j, 0, cells, table)
        if table[slot] == _NONE:
            table[slot] = count
            cells[count, 0], cells[count, 1], cells[count, 2] = i, j, 0
            count += 1
        before[k], newest[table[slot]] = newest[table[slot]], k
    return cells[:count], table, newest, before


@kernel(Tuple((array(int32, 1), array(int32, 1)))(view(int64, 1), view(float64, 2), float64), long=True)
def _labels(stroke: IndexArray, strokes: DoubleArray, gap_m: float) -> tuple[IntArray, IntArray]:
    """Coarse and fine labels of points, by their strokes, see `_strokes`."""
    count = len(strokes)
    spacing = BEAM_SPACING_RAD * np.sqrt(strokes[:, 0] ** 2 + strokes[:, 1] ** 2)
    widest = gap_m
    for k in range(count):
        widest = max(widest, spacing[k])
    cells, table, newest, before = _cells(strokes, widest)
    coarse, fine = np.arange(count), np.arange(count)
    for cell in range(len(cells)):
        for side in range(len(_SIDES)):
            near = table[_slot(cells[cell, 0] + _SIDES[side][0], cells[cell, 1] + _SIDES[side][1], 0, cells, table)]
            k = newest[cell] if near != _NONE else _NONE
            while k != _NONE:
                x, y, low, high = strokes[k, 0], strokes[k, 1], strokes[k, 2], strokes[k, 3]
                other = before[k] if near == cell else newest[near]
                while other != _NONE:
                    above = max(low - strokes[other, 3], strokes[other, 2] - high, 0.0) * VERTICAL_WEIGHT
                    step2 = (x - strokes[other, 0]) ** 2 + (y - strokes[other, 1]) ** 2 + above**2
                    beam = min(spacing[k], spacing[other])
                    if step2 <= max(beam, gap_m) ** 2:
                        _join(k, other, coarse)
                        if step2 <= max(beam, gap_m / 2) ** 2:
                            _join(k, other, fine)
                    other = before[other]
                k = before[k]
    return _counted_up(stroke, coarse), _counted_up(stroke, fine)
