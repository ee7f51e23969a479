# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms, and a transform buffer with the semantics of tf2 for use without ROS."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import cv2
import numpy as np

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.types import DoubleArray, FloatArray

LARGEST = 1e9  # metres: a chain of such transforms stays exact to a micrometre
_SMALLEST = 1e-9
LONGEST_NAME = 256


def matrix_from(translation: DoubleArray, quaternion_xyzw: DoubleArray) -> DoubleArray:
    """(4, 4) float64 transform from a translation in metres and a quaternion (x, y, z, w) of any positive length.

    Raises:
        GeometryError: a number is not finite or beyond 1e9, or the quaternion is zero.

    >>> matrix_from(np.array([1.0, 2, 3]), np.array([0, 0, 1.0, 0]))[:2].tolist()
    [[-1.0, 0.0, 0.0, 1.0], [0.0, -1.0, 0.0, 2.0]]
    """
    t, q = np.asarray(translation, np.float64), np.asarray(quaternion_xyzw, np.float64)
    if not (np.abs(t).max() < LARGEST and _SMALLEST < np.abs(q).max() < LARGEST):  # nor NaN
        raise GeometryError(
            f"transform: expected a translation below {LARGEST:g} m and a unit quaternion, got {t.tolist()} and "
            f"{q.tolist()}; check its publisher"
        )
    x, y, z, w = q / np.linalg.norm(q)
    T = np.eye(4)
    T[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    T[:3, 3] = t
    return T


def quaternion_from(R: DoubleArray) -> DoubleArray:
    """Unit quaternion (x, y, z, w) with w >= 0 of a (3, 3) rotation.

    >>> quaternion_from(np.diag([-1.0, -1.0, 1.0])).tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    trace = float(np.trace(R))
    # Four equivalent formulas: the one whose divisor is largest loses no precision.
    choice = int(np.argmax([R[0, 0], R[1, 1], R[2, 2], trace]))
    q = np.empty(4)
    if choice == 3:
        q[:] = [R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], 1 + trace]
    else:
        i, j, k = choice, (choice + 1) % 3, (choice + 2) % 3
        q[i] = 1 + R[i, i] - R[j, j] - R[k, k]
        q[j], q[k], q[3] = R[j, i] + R[i, j], R[k, i] + R[i, k], R[k, j] - R[j, k]
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q


def inverse(T: DoubleArray) -> DoubleArray:
    """Inverse of a (4, 4) rigid transform.

    >>> T = matrix_from(np.array([1.0, 2, 3]), np.array([0.1, 0.2, 0.3, 0.9]))
    >>> bool(np.allclose(inverse(T) @ T, np.eye(4)))
    True
    """
    out = np.eye(4)
    out[:3, :3] = T[:3, :3].T
    out[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return out


def apply(T: DoubleArray, xyz: DoubleArray | FloatArray) -> DoubleArray:
    """(N, 3) points moved by a (4, 4) transform, float64.

    By OpenCV, in one pass and one thread: as a product of matrices, OpenBLAS starts threads over a 3 x 3 matrix, which
    costs ten times as much CPU for 120 000 points on two busy cores.
    """
    if not len(xyz):
        return np.zeros((0, 3))
    return np.asarray(cv2.transform(np.asarray(xyz, np.float64)[None], T[:3])[0], np.float64)


def slerp(q0: DoubleArray, q1: DoubleArray, ratio: float) -> DoubleArray:
    """Quaternion on the shorter arc from `q0` (ratio 0) to `q1` (ratio 1)."""
    cosine = float(np.dot(q0, q1))
    if cosine < 0:
        q1, cosine = -q1, -cosine
    if cosine > 1 - 1e-12:
        return q0 if ratio < 0.5 else q1
    angle = np.arccos(cosine)
    mixed = (np.sin((1 - ratio) * angle) * q0 + np.sin(ratio * angle) * q1) / np.sin(angle)
    return np.asarray(mixed / np.linalg.norm(mixed), np.float64)


@dataclass
class _Edge:
    """Transforms from a child frame to its parent over time; one that is static holds at every time."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[tuple[DoubleArray, DoubleArray]] = field(default_factory=list)

    def at(self, child: str, stamp_ns: int) -> DoubleArray:
        if self.static:
            return matrix_from(*self.poses[0])
        first, last = self.stamps_ns[0], self.stamps_ns[-1]
        if not first <= stamp_ns <= last:
            where = "past" if stamp_ns < first else "future"
            raise GeometryError(
                f"transform {child} -> {self.parent}: expected data at {stamp_ns * 1e-9:.6f} s, it is known from "
                f"{first * 1e-9:.6f} to {last * 1e-9:.6f} s; extrapolation into the {where} is refused"
            )
        after = bisect.bisect_left(self.stamps_ns, stamp_ns)
        if self.stamps_ns[after] == stamp_ns:
            return matrix_from(*self.poses[after])
        (t0, q0), (t1, q1) = self.poses[after - 1], self.poses[after]
        s0, s1 = self.stamps_ns[after - 1], self.stamps_ns[after]
        ratio = (stamp_ns - s0) / (s1 - s0)
        return matrix_from(t0 + ratio * (t1 - t0), slerp(q0, q1, ratio))


class TransformBuffer:
    """Transforms between named frames over time: a tree, interpolated, never extrapolated.

    Args:
        cache_s: transforms older than the newest of the same pair by more than this are forgotten; None keeps all.

    >>> buffer = TransformBuffer()
    >>> no_turn = np.array([0.0, 0, 0, 1])
    >>> buffer.set("odom", "base_link", 0, np.array([0.0, 0, 0]), no_turn)
    >>> buffer.set("odom", "base_link", 1_000_000_000, np.array([10.0, 0, 0]), no_turn)
    >>> buffer.lookup("odom", "base_link", 250_000_000)[:3, 3].tolist()
    [2.5, 0.0, 0.0]
    """

    def __init__(self, cache_s: float | None = None) -> None:
        self._edges: dict[str, _Edge] = {}
        self._cache_ns = None if cache_s is None else int(cache_s * 1e9)

    def set(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: DoubleArray,
        quaternion_xyzw: DoubleArray,
        *,
        static: bool = False,
    ) -> None:
        """Store the pose of `child` in `parent` (the transform that maps child to parent) at a time.

        Raises:
            GeometryError: a name is empty, the pose is not finite, or the tree would get a loop.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not (0 < len(parent) <= LONGEST_NAME and 0 < len(child) <= LONGEST_NAME) or parent == child:
            raise GeometryError(
                f"transform: expected two different frames of at most {LONGEST_NAME} characters, got "
                f"{parent[:LONGEST_NAME]!r} and {child[:LONGEST_NAME]!r}"
            )
        matrix_from(translation, quaternion_xyzw)
        if child in self._chain(parent):
            raise GeometryError(f"transform {child} -> {parent}: {parent} already hangs below {child}, a loop")
        t = np.array(translation, np.float64)
        q = np.array(quaternion_xyzw, np.float64)
        q /= np.linalg.norm(q)
        edge = self._edges.get(child)
        if static:
            self._edges[child] = _Edge(parent, True, [stamp_ns], [(t, q)])
            return
        if edge is None or edge.static or edge.parent != parent:
            edge = self._edges[child] = _Edge(parent, False)
        place = bisect.bisect_left(edge.stamps_ns, stamp_ns)
        if place < len(edge.stamps_ns) and edge.stamps_ns[place] == stamp_ns:
            return  # the first of a stamp counts, as in tf2
        edge.stamps_ns.insert(place, stamp_ns)
        edge.poses.insert(place, (t, q))
        if self._cache_ns is not None:
            old = bisect.bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._cache_ns)
            del edge.stamps_ns[:old], edge.poses[:old]

    @property
    def frames(self) -> frozenset[str]:
        """Names of all frames."""
        return frozenset(self._edges) | {edge.parent for edge in self._edges.values()}

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        """(4, 4) float64 that maps `source` into `target` at `stamp_ns`.

        Raises:
            GeometryError: a frame is unknown, the two are not connected, or the time is not covered.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        for name in (target, source):
            if name not in self.frames and target != source:
                raise GeometryError(
                    f"no transform {source} -> {target}: frame {name!r} is unknown; "
                    f"known are {', '.join(sorted(self.frames)) or 'none'}"
                )
        up_source, up_target = self._chain(source), self._chain(target)
        common = next((name for name in up_source if name in up_target), None)
        if common is None:
            raise GeometryError(
                f"no transform {source} -> {target}: they hang in two trees, under {up_source[-1]} and {up_target[-1]}"
            )
        T_common_source = self._to_ancestor(source, common, stamp_ns)
        return np.asarray(inverse(self._to_ancestor(target, common, stamp_ns)) @ T_common_source, np.float64)

    def lookup_full(self, target: str, target_ns: int, source: str, source_ns: int, fixed: str) -> DoubleArray:
        """(4, 4) that maps `source` at `source_ns` into `target` at `target_ns`, `fixed` being at rest between.

        Raises:
            GeometryError: as `lookup`.
        """
        T_fixed_source = self.lookup(fixed, source, source_ns)
        return np.asarray(self.lookup(target, fixed, target_ns) @ T_fixed_source, np.float64)

    def newest_ns(self, target: str, source: str) -> int | None:
        """Newest stamp covered by all timed transforms between two frames; None where all are static.

        Raises:
            GeometryError: the frames are not connected.
        """
        up_source, up_target = self._chain(source), self._chain(target)
        common = next((name for name in up_source if name in up_target), None)
        if common is None:
            raise GeometryError(f"no transform {source} -> {target}: they hang in two trees")
        below = [*up_source[: up_source.index(common)], *up_target[: up_target.index(common)]]
        return min((self._edges[n].stamps_ns[-1] for n in below if not self._edges[n].static), default=None)

    def _chain(self, frame: str) -> list[str]:
        names = [frame]
        while names[-1] in self._edges:
            names.append(self._edges[names[-1]].parent)
        return names

    def _to_ancestor(self, frame: str, ancestor: str, stamp_ns: int) -> DoubleArray:
        T = np.eye(4)
        while frame != ancestor:
            edge = self._edges[frame]
            T = edge.at(frame, stamp_ns) @ T
            frame = edge.parent
        return T
