# SPDX-License-Identifier: Apache-2.0
"""A picture of the hard world: drawn, then marked, wetted, fogged, lit and dazzled, with the hard things labelled."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .catalogue import class_index
from .ground import FloatImage, GroundViewer, SeenGround, kind_index
from .ground_marks import paint_ground
from .mujoco_renderer import MujocoRenderer
from .scene import Colour, Scene
from .views import View
from .weather import Mask, bloom, dazzle, fog, glint, headlights, wet

Rng = np.random.Generator

_ROAD, _MARKING, _SKY = class_index("road"), class_index("lane marking"), class_index("sky")
_GONE = 0.7
"""Share of wear from which a lane marking is road."""


@dataclass(frozen=True)
class HardPicture:
    """One picture before exposure: (H, W, 3) uint8 RGB; semantic values, instances, hard kinds, (H, W) each."""

    colour: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    hard: NDArray[np.uint8]


class HardCamera:
    """Takes pictures of a scene of the hard world; needs its renderer's colour, labels, depth and mirror image."""

    def __init__(self, renderer: MujocoRenderer) -> None:
        self._renderer, self._scene = renderer, renderer.scene
        self._ground = GroundViewer(self._scene, paint_ground(self._scene))
        self._light = _Light(self._scene)

    def take(self, view: View, rng: Rng) -> HardPicture:
        """The picture of `view`; the renderer already looks from there."""
        look, renderer = self._scene.look, self._renderer
        pose = view.pose_world_base @ view.mounting.pose_base_camera()
        rays_camera = pixel_rays(view)
        rays = rays_camera @ pose[:3, :3].T.astype(np.float32)
        rgb = renderer.colour().astype(np.float32) / np.float32(255)
        semantic, instances = renderer.labels()
        ground = self._ground.look(rays, float(pose[2, 3]), pose[:3, 3])
        road = ((semantic == _ROAD) | (semantic == _MARKING)) & ground.valid
        shadow = self._light.shadow(rgb, semantic) & road if look.shadows else np.zeros_like(road)
        rgb = self._marked(rgb, semantic, road, shadow, ground)
        hard = np.where(road, ground.kind, 0).astype(np.uint8)
        worn = road & (semantic == _MARKING) & (ground.wear > 0.25)
        hard[worn] = kind_index("worn marking")
        if (road & (ground.water > 0.15)).sum() > road.size // 2000:
            mirrored = renderer.mirrored(pose, view.intrinsics.fov_y_rad).astype(np.float32) / np.float32(255)
            rgb, strange = wet(rgb, mirrored, ground.water, rays, road)
            hard[strange & (hard == 0)] = kind_index("reflection")
        if look.glare > 0:
            rgb, shining = glint(rgb, rays, road & ~shadow, look, ground.tint.mean(axis=2))
            hard[shining & (hard == 0)] = kind_index("sun glint")
        shaded = shadow | (road & (ground.shade > 0.5) & look.shadows)
        hard[shaded & (hard == 0)] = kind_index("shadow")
        rgb, hard = self._through_air(rgb, hard, semantic, rays_camera, rng)
        if look.glare > 0:
            rgb = dazzle(rgb, semantic == _SKY, look, view.intrinsics, pose)
        semantic = np.where(worn & (ground.wear > _GONE), np.uint8(_ROAD), semantic)
        return HardPicture((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8), semantic, instances, hard)

    def _marked(
        self, rgb: FloatImage, semantic: NDArray[np.uint8], road: Mask, shadow: Mask, ground: SeenGround
    ) -> FloatImage:
        """The road with what lies on it, rubbed-off markings, and the soft shadows where the sun gets at all."""
        factor = ground.tint
        worn = np.where(semantic == _MARKING, ground.wear, np.float32(0))[..., None]
        factor = factor * (1 - worn + worn * self._light.road_over_marking)
        if self._scene.look.shadows:
            shade = np.where(shadow, np.float32(0), ground.shade)[..., None]
            factor = factor * (1 - shade + shade * self._light.shade_over_sun)
        return np.asarray(rgb * np.where(road[..., None], factor, np.float32(1)), np.float32)

    def _through_air(
        self, rgb: FloatImage, hard: NDArray[np.uint8], semantic: NDArray[np.uint8], rays_camera: FloatImage, rng: Rng
    ) -> tuple[FloatImage, NDArray[np.uint8]]:
        """Headlights, fog and halos; what the fog hides is not hard any more."""
        look = self._scene.look
        if look.lamps < 2 and np.isinf(look.fog_m):
            return rgb, hard
        depth = np.where(semantic == _SKY, np.float32(1000), self._renderer.depth()).astype(np.float32)
        if look.lamps >= 2:
            rgb = headlights(rgb, depth, rays_camera, look, rng)
        if np.isfinite(look.fog_m):
            rgb, through = fog(rgb, depth, look, rng)
            hard = np.where(through < 0.15, 0, hard).astype(np.uint8)
        return bloom(rgb, 0.5 if look.lamps >= 2 else 0.25), hard


def pixel_rays(view: View) -> FloatImage:
    """Unit rays through the pixels, optical frame, (H, W, 3)."""
    k = view.intrinsics.matrix
    u = (np.arange(view.intrinsics.width_px) - k[0, 2]) / k[0, 0]
    v = (np.arange(view.intrinsics.height_px) - k[1, 2]) / k[1, 1]
    x, y = np.meshgrid(u, v)
    rays = np.stack([x, y, np.ones_like(x)], -1)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True), np.float32)


class _Light:
    """How bright level ground is in the sun and out of it, from the scene's own light and materials."""

    def __init__(self, scene: Scene) -> None:
        look = scene.look
        ambient = np.asarray(look.ambient) * 1.35 + 0.03
        sun = np.asarray(look.sun) * np.sin(look.sun_elevation_rad)
        self.shade_over_sun = (ambient / (ambient + sun)).astype(np.float32)
        base = {name: np.asarray(_base_colour(scene, name)) for name in ("road", "lane marking")}
        self.road_over_marking = (base["road"] / np.maximum(base["lane marking"], 0.05)).astype(np.float32)
        # Nearer to the shade: joints and dark grain are no shadows.
        self._border = {
            value: float(
                0.7 * np.minimum(colour * ambient, 1).mean() + 0.3 * np.minimum(colour * (ambient + sun), 1).mean()
            )
            for value, colour in ((_ROAD, base["road"]), (_MARKING, base["lane marking"]))
        }

    def shadow(self, rgb: FloatImage, semantic: NDArray[np.uint8]) -> Mask:
        """Where road and markings, as drawn, are about as dark as their colour in the shade."""
        result = np.zeros(semantic.shape, bool)
        light = rgb.mean(axis=2)
        for value, border in self._border.items():
            own = (semantic == value).astype(np.float32)
            # The mean over neighbours of the same class takes the grain of the asphalt away.
            total = cv2.blur(light * own, (5, 5))
            count = cv2.blur(own, (5, 5))
            result |= (own > 0) & (np.asarray(total) < border * np.asarray(count))
        opened = cv2.morphologyEx(result.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        return np.asarray(opened, bool)


def _base_colour(scene: Scene, name: str) -> Colour:
    part = next(thing for thing in scene.objects if thing.name == name).shape.parts[0]
    mean = float(scene.textures[part.texture].mean()) / 255
    red, green, blue = (channel * mean for channel in part.colour)
    return red, green, blue
