# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes from a few numbers: boxes, limbs, blobs, lofts, lathes, ribbons.

Every function returns a `Mesh` with texture coordinates in metres, so that a texture of known tile size keeps its
grain on small and large objects alike. Frame: x forward, y left, z up, metres.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """Triangles with per-vertex normals and texture coordinates.

    Attributes:
        vertices: (N, 3) float64, metres.
        faces: (M, 3) int32, counter-clockwise seen from outside.
        uv: (N, 2) float64, metres along the surface.
        normals: (N, 3) float64, unit length.
    """

    vertices: FloatArray
    faces: IntArray
    uv: FloatArray
    normals: FloatArray

    def moved(self, translation: ArrayLike, rotation: FloatArray | None = None) -> Mesh:
        """The mesh after `rotation` (3, 3) and then `translation` (3,)."""
        turn = np.eye(3) if rotation is None else rotation
        return Mesh(self.vertices @ turn.T + np.asarray(translation, float), self.faces, self.uv, self.normals @ turn.T)

    def scaled(self, factors: ArrayLike) -> Mesh:
        """The mesh stretched along its axes by `factors` (3,), all positive."""
        factors_xyz = np.asarray(factors, float)
        normals = self.normals / factors_xyz
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Mesh(self.vertices * factors_xyz, self.faces, self.uv * float(factors_xyz.mean()), normals)


def rotation_xyz(roll_rad: float = 0.0, pitch_rad: float = 0.0, yaw_rad: float = 0.0) -> FloatArray:
    """Rotation matrix Rz(yaw) @ Ry(pitch) @ Rx(roll), (3, 3)."""
    cr, sr, cp, sp, cy, sy = (float(f(a)) for a in (roll_rad, pitch_rad, yaw_rad) for f in (np.cos, np.sin))
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx, dtype=np.float64)


def combine(meshes: Iterable[Mesh]) -> Mesh:
    """One mesh that holds all of `meshes`."""
    parts = list(meshes)
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)]).astype(np.int32),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.normals for part in parts]),
    )


def _face_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    corner = vertices[faces]
    return np.asarray(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]))


def smooth(vertices: FloatArray, faces: IntArray, uv: FloatArray) -> Mesh:
    """Mesh whose normals are the area-weighted mean of the faces around a vertex."""
    normals = np.zeros_like(vertices)
    face_normals = _face_normals(vertices, faces)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(lengths > 1e-12, normals / np.maximum(lengths, 1e-12), [0.0, 0.0, 1.0])
    return Mesh(vertices, faces.astype(np.int32), uv, normals)


def flat(vertices: FloatArray, faces: IntArray, uv: FloatArray | None = None) -> Mesh:
    """Mesh with sharp edges: no vertex is shared; texture coordinates projected along the main axis if not given."""
    normals = _face_normals(vertices, faces)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    keep = lengths[:, 0] > 1e-10
    faces, normals = faces[keep], normals[keep] / lengths[keep]
    corners = vertices[faces].reshape(-1, 3)
    spread = np.repeat(normals, 3, axis=0)
    if uv is not None:
        corner_uv = uv[faces].reshape(-1, 2)
    else:
        axis = np.abs(spread).argmax(axis=1)
        u = np.where(axis == 0, corners[:, 1], corners[:, 0])
        v = np.where(axis == 2, corners[:, 1], corners[:, 2])
        corner_uv = np.stack([u, v], axis=1)
    return Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), corner_uv, spread)


_HEXAHEDRON = np.array(
    [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4],
     [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]], dtype=np.int32,
)  # fmt: skip


def box(size: Sequence[float], center: ArrayLike = (0.0, 0.0, 0.0), rotation: FloatArray | None = None) -> Mesh:
    """Box of full extents `size` (3,) about `center`."""
    x, y, z = (extent / 2 for extent in size)
    corners = np.array(
        [[-x, -y, -z], [x, -y, -z], [x, y, -z], [-x, y, -z], [-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z]]
    )
    return flat(corners, _HEXAHEDRON).moved(center, rotation)


def trapezoids(stations: ArrayLike) -> Mesh:
    """Faceted loft along x: each row of `stations` (S, 5) is x, z_low, z_high, half_width_low, half_width_high."""
    rows = np.asarray(stations, float)
    rings = np.stack(
        [
            np.stack([rows[:, 0], -rows[:, 3], rows[:, 1]], 1),
            np.stack([rows[:, 0], rows[:, 3], rows[:, 1]], 1),
            np.stack([rows[:, 0], rows[:, 4], rows[:, 2]], 1),
            np.stack([rows[:, 0], -rows[:, 4], rows[:, 2]], 1),
        ],
        axis=1,
    )
    faces = _tube_faces(len(rows), 4)
    last = 4 * (len(rows) - 1)
    caps = [[0, 2, 1], [0, 3, 2], [last, last + 1, last + 2], [last, last + 2, last + 3]]
    return flat(rings.reshape(-1, 3), np.concatenate([faces, np.array(caps)]).astype(np.int32))


def _tube_faces(rings: int, points: int, *, closed: bool = True) -> IntArray:
    """Faces between successive rings of `points` vertices each."""
    ring = np.arange(rings - 1)[:, None] * points
    here = np.arange(points if closed else points - 1)[None]
    after = (here + 1) % points
    a, b, c, d = ring + here, ring + after, ring + points + after, ring + points + here
    quads = np.stack([a, b, c, a, c, d], axis=-1)
    return quads.reshape(-1, 3).astype(np.int32)


def loft(sections: ArrayLike, *, points: int = 10, exponent: float = 2.0) -> Mesh:
    """Smooth body along x through super-ellipses; rows of `sections` (S, 4+): x, z_center, half_width, half_height.

    `exponent` 2 gives ellipses, 4 and more gives rounded boxes. The ends are closed.
    """
    rows = np.asarray(sections, float)
    angle = np.linspace(0, 2 * np.pi, points + 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    ring_y = np.sign(cosine) * np.abs(cosine) ** (2 / exponent)
    ring_z = np.sign(sine) * np.abs(sine) ** (2 / exponent)
    tips = np.stack([rows[[0, -1], 0], rows[[0, -1], 1], [1e-4, 1e-4], [1e-4, 1e-4]], axis=1)
    rows = np.concatenate([tips[:1], rows[:, :4], tips[1:]])
    x = np.repeat(rows[:, 0:1], points + 1, axis=1)
    y = rows[:, 2:3] * ring_y
    z = rows[:, 1:2] + rows[:, 3:4] * ring_z
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    girth = np.repeat((angle * rows[:, 2:4].mean())[None], len(rows), axis=0)
    uv = np.stack([x.ravel(), girth.ravel()], axis=1)
    return smooth(vertices, _tube_faces(len(rows), points + 1, closed=False), uv)


def limb(start: ArrayLike, end: ArrayLike, radius_start: float, radius_end: float, *, points: int = 7) -> Mesh:
    """Closed round stick from `start` to `end` (3,), metres."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    axis = last - first
    length = float(np.linalg.norm(axis))
    axis = axis / max(length, 1e-9)
    side = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    frame = np.stack([axis, side, np.cross(axis, side)], axis=1)
    body = loft([[0, 0, radius_start, radius_start], [length, 0, radius_end, radius_end]], points=points)
    return body.moved(first, frame)


def blob(
    radii: Sequence[float],
    center: ArrayLike = (0.0, 0.0, 0.0),
    *,
    rng: np.random.Generator | None = None,
    roughness: float = 0.0,
    rings: int = 7,
    points: int = 10,
) -> Mesh:
    """Ellipsoid of half axes `radii` (3,); `roughness` is the relative spread of its surface (needs `rng`)."""
    polar = np.linspace(0, np.pi, rings)[:, None]
    around = np.linspace(0, 2 * np.pi, points + 1)[None]
    radius = np.ones((rings, points + 1))
    if rng is not None and roughness > 0:
        radius += rng.normal(0, roughness, radius.shape)
        radius[:, -1] = radius[:, 0]
        radius[0], radius[-1] = radius[0, 0], radius[-1, 0]
    unit = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar) + 0 * around], axis=-1
    )
    vertices = (unit * radius[..., None] * np.asarray(radii, float)).reshape(-1, 3)
    reach = float(np.mean(radii))
    uv = np.stack([(around + 0 * polar).ravel() * reach, (polar + 0 * around).ravel() * reach], axis=1)
    faces = _tube_faces(rings, points + 1, closed=False)[:, ::-1]
    return smooth(vertices, np.ascontiguousarray(faces), uv).moved(center)


def lathe(profile: ArrayLike, *, points: int = 14) -> Mesh:
    """Surface of revolution about z; `profile` (P, 2) is radius, height, from bottom to top along the outside."""
    rows = np.asarray(profile, float)
    around = np.linspace(0, 2 * np.pi, points + 1)
    vertices = np.stack(
        [
            rows[:, :1] * np.cos(around),
            rows[:, :1] * np.sin(around),
            np.repeat(rows[:, 1:], points + 1, axis=1),
        ],
        axis=-1,
    )
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(rows, axis=0), axis=1))])
    reach = float(rows[:, 0].max())
    uv = np.stack(
        [np.repeat(around[None] * reach, len(rows), 0).ravel(), np.repeat(along[:, None], points + 1, 1).ravel()], 1
    )
    return smooth(vertices.reshape(-1, 3), _tube_faces(len(rows), points + 1, closed=False), uv)


def ribbon(left: FloatArray, right: FloatArray) -> Mesh:
    """Strip between two polylines (N, 3) that run forward; seen from above, or from the right where it is upright."""
    count = len(left)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(left, axis=0), axis=1))])
    across = np.linalg.norm(left - right, axis=1)
    vertices = np.concatenate([right, left])
    uv = np.concatenate([np.stack([along, 0 * along], 1), np.stack([along, across], 1)])
    here = np.arange(count - 1)
    faces = np.concatenate(
        [np.stack([here, here + 1, here + 1 + count], 1), np.stack([here, here + 1 + count, here + count], 1)]
    )
    return smooth(vertices, faces.astype(np.int32), uv)


def sheet(points: FloatArray) -> Mesh:
    """Surface through a grid of points (rows, columns, 3), seen from the side of row x column direction."""
    rows, columns, _ = points.shape
    faces = np.ascontiguousarray(_tube_faces(rows, columns, closed=False)[:, ::-1])
    u = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
    v = np.linalg.norm(np.diff(points, axis=1), axis=-1).mean(axis=0)
    along, across = np.concatenate([[0], np.cumsum(u)]), np.concatenate([[0], np.cumsum(v)])
    uv = np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2)
    return smooth(points.reshape(-1, 3), faces, uv)
