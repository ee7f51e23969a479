# SPDX-License-Identifier: Apache-2.0
"""What a scene is, whoever draws it: parts, objects, looks, road, and the pose of everything.

World frame: metres, z up; the road starts near the origin and runs towards +x. An object's own frame has its origin on
the ground below its middle, x forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .meshes import Mesh, combine

FloatArray = NDArray[np.float64]
Colour = tuple[float, float, float]

ANOMALY_VALUE = 254
"""Value of anomaly pixels in semantic pictures."""
VOID_VALUE = 255
"""Value of pixels without a class in semantic pictures."""


@dataclass(frozen=True)
class Part:
    """A mesh with one material: texture times colour; `shine` and `glow` (light of its own) are 0..1."""

    mesh: Mesh
    texture: str
    colour: Colour
    shine: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True)
class Shape:
    """Parts of one object in its own frame, standing on z = 0, with its axis-aligned extents."""

    parts: tuple[Part, ...]
    low_m: FloatArray
    high_m: FloatArray

    @property
    def size_m(self) -> FloatArray:
        """Extents along x, y, z, metres."""
        return self.high_m - self.low_m

    @property
    def middle_m(self) -> FloatArray:
        """Middle of the extents in the object's frame, metres."""
        return (self.high_m + self.low_m) / 2


def make_shape(parts: list[Part], *, rotation: FloatArray | None = None, scale: float = 1.0) -> Shape:
    """Shape of `parts` merged by material, after `scale` and `rotation`, centred on x, y and standing on z = 0."""
    groups: dict[tuple[str, Colour, float, float], list[Mesh]] = {}
    for part in parts:
        groups.setdefault((part.texture, part.colour, part.shine, part.glow), []).append(part.mesh)
    meshes = {key: combine(group) for key, group in groups.items()}
    if scale != 1.0:
        meshes = {key: mesh.scaled((scale,) * 3) for key, mesh in meshes.items()}
    if rotation is not None:
        meshes = {key: mesh.moved((0, 0, 0), rotation) for key, mesh in meshes.items()}
    low = np.min([mesh.vertices.min(axis=0) for mesh in meshes.values()], axis=0)
    high = np.max([mesh.vertices.max(axis=0) for mesh in meshes.values()], axis=0)
    shift = -np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return Shape(tuple(Part(mesh.moved(shift), *key) for key, mesh in meshes.items()), low + shift, high + shift)


@dataclass
class SceneObject:
    """One thing with a label; instance 0 is for layers without instances (road, terrain).

    Attributes:
        instance: unique in the scene; 0 for layers.
        name: category name, for layers and known things the class name.
        variant: finer word for known things ("van", "bush"), else the name.
        split: "known", "seen" or "unseen".
        semantic: class index, or ANOMALY_VALUE.
        position_m: (3,) world position of the object's origin; `yaw_rad` about z.
        velocity_mps: (3,) world velocity.
        movable: whether views and drives may place it anew; not drawn while `placed` is false.
    """

    instance: int
    name: str
    variant: str
    split: str
    semantic: int
    shape: Shape
    position_m: FloatArray = field(default_factory=lambda: np.zeros(3))
    yaw_rad: float = 0.0
    velocity_mps: FloatArray = field(default_factory=lambda: np.zeros(3))
    movable: bool = False
    placed: bool = True

    @property
    def radius_m(self) -> float:
        """Half diagonal of the ground footprint, metres."""
        return float(np.hypot(*self.shape.size_m[:2]) / 2)

    def center_m(self) -> FloatArray:
        """Middle of the 3D box in the world, (3,) metres."""
        middle = self.shape.middle_m
        cosine, sine = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turned = [cosine * middle[0] - sine * middle[1], sine * middle[0] + cosine * middle[1], middle[2]]
        return np.asarray(self.position_m + turned, dtype=np.float64)


@dataclass(frozen=True)
class Look:
    """Light and weather of a scene, and how the camera answers to it. Colours are linear, 0..1.

    The last four are at their defaults in the standard world. `wetness` 0..1 is the water film on the road, `fog_m` the
    meteorological range (5 % of contrast left), `glare` 0..1 the veil of a sun in view, `lamps` the gain of everything
    that glows, with headlights from 2 on.
    """

    name: str
    sun_azimuth_rad: float
    sun_elevation_rad: float
    sun: Colour
    ambient: Colour
    sky_top: Colour
    sky_horizon: Colour
    cloud: float
    haze_m: float
    exposure: float
    gamma: float
    noise: float
    shadows: bool
    wetness: float = 0.0
    fog_m: float = float("inf")
    glare: float = 0.0
    lamps: float = 1.0


@dataclass(frozen=True)
class ReferenceLine:
    """Middle of the road as arc length -> pose; `s_m`, `x_m`, `y_m`, `heading_rad` are (N,), evenly spaced in s."""

    s_m: FloatArray
    x_m: FloatArray
    y_m: FloatArray
    heading_rad: FloatArray

    def heading(self, s_m: float | FloatArray) -> FloatArray:
        """Heading at arc length `s_m`, radians."""
        return np.asarray(np.interp(s_m, self.s_m, self.heading_rad))

    def place(self, s_m: float | FloatArray, d_m: float | FloatArray, z_m: float | FloatArray = 0.0) -> FloatArray:
        """World points (..., 3) at arc length `s_m`, `d_m` to the left, `z_m` up; broadcast over arrays."""
        s, d, z = np.broadcast_arrays(np.asarray(s_m, float), np.asarray(d_m, float), np.asarray(z_m, float))
        heading = self.heading(s)
        x = np.interp(s, self.s_m, self.x_m) - d * np.sin(heading)
        y = np.interp(s, self.s_m, self.y_m) + d * np.cos(heading)
        return np.stack([x, y, z], axis=-1)

    def locate(self, point_m: FloatArray) -> tuple[float, float]:
        """Arc length and offset to the left of a world point (2,) near the road."""
        points = self.place(self.s_m, 0.0)[:, :2]
        index = int(np.hypot(*(points - point_m).T).argmin())
        offset, heading = point_m - points[index], float(self.heading_rad[index])
        along = offset[0] * np.cos(heading) + offset[1] * np.sin(heading)
        return float(self.s_m[index] + along), float(offset[1] * np.cos(heading) - offset[0] * np.sin(heading))


@dataclass(frozen=True)
class CrossSection:
    """Widths across the road, metres; d is positive to the left of the middle line.

    Attributes:
        lane_m: width of one lane; `lanes_left` oncoming, `lanes_right` along.
        half_left_m, half_right_m: from the middle line to each kerb.
        sidewalk_left_m, sidewalk_right_m: width, 0 where there is none.
        kerb_m: height of the kerb.
    """

    lane_m: float
    lanes_left: int
    lanes_right: int
    half_left_m: float
    half_right_m: float
    sidewalk_left_m: float
    sidewalk_right_m: float
    kerb_m: float

    def height(self, d_m: float) -> float:
        """Height of the surface at `d_m`, metres."""
        on_left = self.half_left_m < d_m <= self.half_left_m + self.sidewalk_left_m
        on_right = self.half_right_m < -d_m <= self.half_right_m + self.sidewalk_right_m
        return self.kerb_m if on_left or on_right else 0.0


@dataclass
class Scene:
    """Everything a renderer needs, and everything the truth is made of."""

    seed: int
    look: Look
    textures: dict[str, NDArray[np.uint8]]
    objects: list[SceneObject]
    line: ReferenceLine
    section: CrossSection
    style: str
