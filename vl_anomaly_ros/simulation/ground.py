# SPDX-License-Identifier: Apache-2.0
"""What lies on the road, as maps seen from above, and how a camera sees them. The road is the plane z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import FloatArray, ReferenceLine, Scene

FloatImage = NDArray[np.float32]
Rng = np.random.Generator

HARD_KINDS: tuple[str, ...] = (
    "none", "shadow", "reflection", "sun glint", "puddle", "oil stain", "manhole", "repair patch", "tram rail",
    "worn marking", "skid mark", "leaves", "tar seam",
)  # fmt: skip
"""Hard normal things; the position is the value in pictures under `hard/`."""

STEP_M = (0.04, 0.03)
_REACH_M = 14.0
_LEVELS_M = (5.5, 11.0, 22.0)
"""Distances at which the next coarser copy of the maps is read: 4 times along, 2 times across the road."""
_CELL_M = 2.0
_SEEN_TO_M = 130.0


def kind_index(name: str) -> int:
    """Value of a kind in pictures under `hard/`."""
    return HARD_KINDS.index(name)


@dataclass
class GroundMap:
    """Maps over the road; row r lies at s = r * STEP_M[0], column c at d = low_m + c * STEP_M[1].

    Attributes:
        low_m: d of the first column, metres.
        tint: (R, C, 3) uint8, what the road's colour is multiplied by; 128 leaves it as it is.
        kind: (R, C) uint8, index into HARD_KINDS.
        water: (R, C) uint8, film of water; from 200 on it stands.
        wear: (R, C) uint8, how much of a lane marking is gone.
        shade: (R, C) uint8, share of the sun that things out of view keep off.
    """

    low_m: float
    tint: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    water: NDArray[np.uint8]
    wear: NDArray[np.uint8]
    shade: NDArray[np.uint8]

    @classmethod
    def bare(cls, scene: Scene) -> GroundMap:
        """Maps of a clean road, as far as 14 m to either side of the middle line."""
        low = -min(scene.section.half_right_m, _REACH_M)
        columns = int((min(scene.section.half_left_m, _REACH_M) - low) / STEP_M[1])
        shape = (int(scene.line.s_m[-1] / STEP_M[0]), columns)
        flat = [np.zeros(shape, np.uint8) for _ in range(4)]
        return cls(low, np.full((*shape, 3), 128, np.uint8), *flat)

    @property
    def high_m(self) -> float:
        """Offset of the last column, metres."""
        return self.low_m + float(self.kind.shape[1] * STEP_M[1])

    def window(
        self, s_m: float, d_m: float, reach_s_m: float, reach_d_m: float
    ) -> tuple[tuple[slice, slice], FloatImage, FloatImage]:
        """Part of the maps around a point: its slices, and offsets (h, 1) and (1, w) from the point, metres."""
        rows, columns = self.kind.shape
        r = [int(np.clip((s_m + k * reach_s_m) / STEP_M[0], 0, rows)) for k in (-1, 1)]
        c = [int(np.clip((d_m - self.low_m + k * reach_d_m) / STEP_M[1], 0, columns)) for k in (-1, 1)]
        ds = (np.arange(*r, dtype=np.float32) * np.float32(STEP_M[0]) - np.float32(s_m))[:, None]
        dd = (np.arange(*c, dtype=np.float32) * np.float32(STEP_M[1]) + np.float32(self.low_m - d_m))[None]
        return (slice(*r), slice(*c)), ds, dd

    def blend(self, at: tuple[slice, slice], alpha: FloatImage, factor: tuple[float, float, float], kind: str) -> None:
        """Multiply the colour by `factor` where `alpha` (h, w) is 1, and mark it as `kind` where it shows."""
        if alpha.size == 0:
            return
        weight = alpha[..., None]
        change = 1 - weight + weight * np.asarray(factor, np.float32)
        self.tint[at] = np.clip(self.tint[at] * change, 0, 255).astype(np.uint8)
        self.kind[at][alpha > 0.35] = kind_index(kind)


@dataclass(frozen=True)
class SeenGround:
    """The maps as a camera sees them, (H, W) each; meaningless where `valid` is false."""

    valid: NDArray[np.bool_]
    tint: FloatImage
    kind: NDArray[np.uint8]
    water: FloatImage
    wear: FloatImage
    shade: FloatImage


class GroundViewer:
    """Looks up the maps of a scene for the pixels of a view."""

    def __init__(self, scene: Scene, ground: GroundMap) -> None:
        self._ground = ground
        self._origin, self._road = _road_coordinates(scene.line)
        self._colours, self._covers = [], []
        colour = np.dstack([ground.tint, ground.water])
        cover = np.dstack([ground.wear, ground.shade])
        for level in range(len(_LEVELS_M) + 1):
            if level:
                size = (max(colour.shape[1] // 2, 1), max(colour.shape[0] // 4, 1))
                colour = np.asarray(cv2.resize(colour, size, interpolation=cv2.INTER_AREA))
                cover = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA))
            self._colours.append(colour)
            self._covers.append(cover)

    def look(self, rays: FloatImage, height_m: float, origin_m: FloatArray) -> SeenGround:
        """The maps along `rays` (H, W, 3), world frame, of a camera `height_m` above the road."""
        down = np.minimum(rays[..., 2], np.float32(-1e-4))
        reach = np.float32(height_m) / -down
        near = reach < _SEEN_TO_M
        offset = np.where(near[..., None], rays[..., :2] * reach[..., None], np.float32(0))
        road = _between(self._road, (offset + (origin_m[:2] - self._origin).astype(np.float32)) / np.float32(_CELL_M))
        ground = self._ground
        s, d = road[..., 0] / np.float32(STEP_M[0]), (road[..., 1] - ground.low_m) / np.float32(STEP_M[1])
        rows, columns = ground.kind.shape
        valid = (rays[..., 2] < 0) & near & (s > 0) & (s < rows - 1) & (d > 0) & (d < columns - 1)
        kind = np.asarray(cv2.remap(ground.kind, d, s, cv2.INTER_NEAREST), np.uint8)
        colour, cover = np.zeros((*s.shape, 4), np.float32), np.zeros((*s.shape, 2), np.float32)
        level_of_row = np.digitize(np.median(reach, axis=1), _LEVELS_M)
        for level in range(len(_LEVELS_M) + 1):
            band = level_of_row == level
            if band.any():
                # Where the coarse maps' pixels have their middles.
                u = (d[band] + np.float32(0.5)) / np.float32(2**level) - np.float32(0.5)
                v = (s[band] + np.float32(0.5)) / np.float32(4**level) - np.float32(0.5)
                colour[band] = cv2.remap(self._colours[level], u, v, cv2.INTER_LINEAR)
                cover[band] = cv2.remap(self._covers[level], u, v, cv2.INTER_LINEAR)
        return SeenGround(valid, colour[..., :3] / np.float32(128), kind, colour[..., 3] / np.float32(255),
                          cover[..., 0] / np.float32(255), cover[..., 1] / np.float32(255))  # fmt: skip


def _between(grid: FloatImage, at: FloatImage) -> FloatImage:
    """Values of `grid` (rows, columns, 2) at x, y `at` (H, W, 2), bilinear; cv2.remap knows 32 steps a cell only."""
    at = np.clip(at, 0, np.array([grid.shape[1] - 1.001, grid.shape[0] - 1.001], np.float32))
    column, row = (at[..., axis].astype(np.int32) for axis in (0, 1))
    u, v = (at[..., axis, None] - whole[..., None].astype(np.float32) for axis, whole in ((0, column), (1, row)))
    flat, first = grid.reshape(-1, grid.shape[2]), row * grid.shape[1] + column
    upper = flat[first] * (1 - u) + flat[first + 1] * u
    lower = flat[first + grid.shape[1]] * (1 - u) + flat[first + grid.shape[1] + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float32)


def _road_coordinates(line: ReferenceLine) -> tuple[FloatArray, FloatImage]:
    """Grid over the world around the road: its first point (2,), and s and d at its points, (rows, columns, 2)."""
    points = np.stack([line.x_m, line.y_m], 1)
    origin = points.min(axis=0) - 40
    count = np.ceil((points.max(axis=0) + 40 - origin) / _CELL_M).astype(int)
    x, y = (origin[axis] + np.arange(count[axis]) * _CELL_M for axis in (0, 1))
    at = np.stack(np.meshgrid(x, y), -1)
    # The road runs along x: its nearest point has about the same x.
    guess = np.interp(at[..., 0], line.x_m, line.s_m)
    for _ in range(3):
        place, heading = line.place(guess, 0.0)[..., :2], line.heading(guess)
        offset = at - place
        guess = np.clip(guess + offset[..., 0] * np.cos(heading) + offset[..., 1] * np.sin(heading), 0, line.s_m[-1])
    place, heading = line.place(guess, 0.0)[..., :2], line.heading(guess)
    offset = at - place
    d = -offset[..., 0] * np.sin(heading) + offset[..., 1] * np.cos(heading)
    return origin, np.ascontiguousarray(np.stack([guess, d], -1).astype(np.float32))
