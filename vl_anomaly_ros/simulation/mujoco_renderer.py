# SPDX-License-Identifier: Apache-2.0
"""Draws a `Scene` with MuJoCo, off-screen: colour, labels and rays. The only file that knows MuJoCo."""

from __future__ import annotations

import ctypes.util
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vl_anomaly_ros.errors import SimulationError

from .catalogue import class_index
from .looks import sky_faces
from .scene import FloatArray, Scene, SceneObject
from .textures import SIZE_PX, TILE_M

if TYPE_CHECKING:
    from typing_extensions import Self

_FAR_M = 600.0
_HIDDEN_M = -300.0
_SHADOW_REACH_M = 38.0
_GROUND = ("road", "lane marking", "sidewalk", "terrain")
_GROUND_GROUP = 1
"""MuJoCo's group of their geoms; it shows groups 0 to 2 unless told otherwise."""


def choose_opengl() -> str:
    """Set MUJOCO_GL where it is not set: OSMesa, else EGL; returns its value. MuJoCo reads it when imported.

    Raises:
        SimulationError: neither is installed.
    """
    if "MUJOCO_GL" not in os.environ:
        for name, library in (("osmesa", "OSMesa"), ("egl", "EGL")):
            if ctypes.util.find_library(library):
                os.environ["MUJOCO_GL"] = name
                break
        else:
            raise SimulationError(
                "expected an off-screen OpenGL (OSMesa or EGL) to draw the simulated world, found neither; "
                "run: sudo apt-get install libosmesa6"
            )
    return os.environ["MUJOCO_GL"]


def load_mujoco() -> Any:
    """The mujoco module with a working off-screen OpenGL.

    Raises:
        SimulationError: mujoco or every off-screen OpenGL is missing; the text says what to install.
    """
    choose_opengl()
    try:
        import mujoco
    except ImportError as error:
        raise SimulationError(
            f"expected the Python package mujoco (>=3.2, <4), got: {error}; run: pip install 'mujoco<4', "
            "and for OSMesa: sudo apt-get install libosmesa6"
        ) from error
    return mujoco


def _quaternion(rotation: FloatArray) -> FloatArray:
    """Unit quaternion w, x, y, z of a rotation matrix (3, 3)."""
    m = rotation
    candidates = np.array(
        [1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2],
         1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2]]
    )  # fmt: skip
    best = int(candidates.argmax())
    rows = (
        (candidates[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]),
        (m[2, 1] - m[1, 2], candidates[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]),
        (m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], candidates[2], m[1, 2] + m[2, 1]),
        (m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], candidates[3]),
    )
    quaternion = np.array(rows[best], float)
    return np.asarray(quaternion / np.linalg.norm(quaternion))


class MujocoRenderer:
    """A compiled scene. Movable objects follow `scene.objects` at each `update`.

    Args:
        scene: what to draw.
        width_px, height_px: size of the pictures; 0 x 0 for rays only (needs no OpenGL).

    Raises:
        SimulationError: no off-screen OpenGL, or MuJoCo refuses the scene.
    """

    def __init__(self, scene: Scene, width_px: int, height_px: int) -> None:
        self.scene = scene
        self.width_px, self.height_px = width_px, height_px
        self._mujoco = load_mujoco()
        self._geom_owner: list[int] = []
        self._mocap: list[tuple[SceneObject, int]] = []
        self._model = self._compile()
        self._data = self._mujoco.MjData(self._model)
        owners = [scene.objects[index] for index in self._geom_owner]
        # Index 0 stands for "nothing hit": the sky.
        self._semantic_of = np.array([class_index("sky"), *(o.semantic for o in owners)], np.uint8)
        self._instance_of = np.array([0, *(o.instance for o in owners)], np.uint16)
        self._shine_of = np.array([0.0, *self._brightness], np.float32)
        self._renderer: Any = None
        self._shown = self._mujoco.MjvOption()
        self.update()
        if width_px > 0:
            try:
                self._renderer = self._mujoco.Renderer(self._model, height_px, width_px)
            except Exception as error:  # every back end of MuJoCo fails in its own way
                raise SimulationError(
                    f"expected an off-screen OpenGL through MUJOCO_GL={os.environ.get('MUJOCO_GL')}, got: {error}; "
                    "run: sudo apt-get install libosmesa6"
                ) from error

    def close(self) -> None:
        """Free the OpenGL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- building ---------------------------------------------------------------------------------------------------

    def _compile(self) -> Any:
        mujoco, scene, look = self._mujoco, self.scene, self.scene.look
        spec = mujoco.MjSpec()
        spec.compiler.balanceinertia = True
        spec.stat.extent, spec.stat.center = 1.0, (0, 0, 0)
        visual = spec.visual
        visual.map.znear, visual.map.zfar = 0.15, _FAR_M
        visual.map.fogstart, visual.map.fogend = 0.15 * look.haze_m, 2.2 * look.haze_m
        visual.map.shadowclip, visual.map.shadowscale = _SHADOW_REACH_M, 1.0
        visual.quality.shadowsize = 1024 if look.shadows else 0
        visual.quality.offsamples = 4
        visual.global_.offwidth, visual.global_.offheight = max(self.width_px, 16), max(self.height_px, 16)
        visual.rgba.fog = (*look.sky_horizon, 1)
        visual.headlight.ambient, visual.headlight.diffuse = look.ambient, (0.06, 0.06, 0.06)
        visual.headlight.specular = (0, 0, 0)
        self._add_textures(spec)
        elevation, azimuth = look.sun_elevation_rad, look.sun_azimuth_rad
        towards = (-np.cos(elevation) * np.cos(azimuth), -np.cos(elevation) * np.sin(azimuth), -np.sin(elevation))
        directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        spec.worldbody.add_light(name="sun", type=directional, dir=towards, diffuse=look.sun, ambient=(0, 0, 0),
                                 specular=[0.6 * c for c in look.sun], castshadow=look.shadows)  # fmt: skip
        fill = [0.35 * c for c in look.ambient]
        spec.worldbody.add_light(name="fill", type=directional, dir=(0, 0, -1), diffuse=fill, ambient=(0, 0, 0),
                                 specular=(0, 0, 0), castshadow=False)  # fmt: skip
        spec.worldbody.add_camera(name="camera", pos=(0, 0, 1.5))
        materials: dict[tuple[str, float, float], str] = {}
        self._brightness: list[float] = []
        for index, thing in enumerate(scene.objects):
            self._add_object(spec, index, thing, materials)
        try:
            return spec.compile()
        except ValueError as error:
            raise SimulationError(f"MuJoCo refused the scene of seed {scene.seed}: {error}") from error

    def _add_textures(self, spec: Any) -> None:
        mujoco, scene = self._mujoco, self.scene
        for name, image in scene.textures.items():
            texture = spec.add_texture(
                name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=SIZE_PX, height=SIZE_PX, nchannel=3
            )
            texture.data = image.tobytes()
        faces = sky_faces(scene.look, np.random.default_rng([scene.seed, 0x5C1]))
        sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, width=faces.shape[1],
                               height=faces.shape[0], nchannel=3)  # fmt: skip
        sky.data = faces.tobytes()

    def _add_object(
        self, spec: Any, index: int, thing: SceneObject, materials: dict[tuple[str, float, float], str]
    ) -> None:
        mujoco = self._mujoco
        quaternion = (np.cos(thing.yaw_rad / 2), 0, 0, np.sin(thing.yaw_rad / 2))
        body = spec.worldbody.add_body(name=f"o{index}", pos=thing.position_m, quat=quaternion, mocap=thing.movable)
        if thing.movable:
            self._mocap.append((thing, len(self._mocap)))
        for number, part in enumerate(thing.shape.parts):
            key = (part.texture, part.shine, part.glow)
            if key not in materials:
                material = spec.add_material(
                    name=f"m{len(materials)}",
                    specular=part.shine,
                    shininess=0.3 + 0.6 * part.shine,
                    emission=min(part.glow * self.scene.look.lamps, 1.0),
                    reflectance=0.0,
                )
                material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = part.texture
                materials[key] = material.name
            name = f"o{index}p{number}"
            mesh = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
            mesh.uservert, mesh.userface = part.mesh.vertices.ravel(), part.mesh.faces.ravel()
            mesh.usernormal = part.mesh.normals.ravel()
            mesh.usertexcoord = (part.mesh.uv / TILE_M[part.texture]).ravel()
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=name,
                material=materials[key],
                group=_GROUND_GROUP if thing.instance == 0 and thing.name in _GROUND else 0,
                contype=0,
                conaffinity=0,
                rgba=(*part.colour, 1),
            )
            self._geom_owner.append(index)
            mean = float(self.scene.textures[part.texture].mean()) / 255
            self._brightness.append(mean * float(np.mean(part.colour)) + 0.4 * part.shine)

    # -- use --------------------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Move the movable objects to where the scene says."""
        for thing, slot in self._mocap:
            position = thing.position_m if thing.placed else np.array([5.0 * slot, 0.0, _HIDDEN_M])
            self._data.mocap_pos[slot] = position
            self._data.mocap_quat[slot] = (np.cos(thing.yaw_rad / 2), 0, 0, np.sin(thing.yaw_rad / 2))
        self._mujoco.mj_forward(self._model, self._data)

    def look_from(self, pose_world_camera: FloatArray, fov_y_rad: float) -> None:
        """Put the camera at `pose_world_camera` (4, 4), optical frame: x right, y down, z forward."""
        model = self._model
        model.cam_pos[0] = pose_world_camera[:3, 3]
        model.cam_quat[0] = _quaternion(pose_world_camera[:3, :3] @ np.diag([1.0, -1.0, -1.0]))
        model.cam_fovy[0] = np.degrees(fov_y_rad)
        ahead = pose_world_camera[:3, 2] * [1, 1, 0]
        # Shadows are drawn around the light's position: keep it above what the camera sees.
        target = pose_world_camera[:3, 3] * [1, 1, 0] + ahead / np.linalg.norm(ahead) * (0.75 * _SHADOW_REACH_M)
        model.light_pos[:] = target - 100 * model.light_dir
        self._mujoco.mj_forward(model, self._data)

    def colour(self) -> NDArray[np.uint8]:
        """Picture from the camera, (H, W, 3) uint8 RGB, before exposure."""
        self._draw(labels=False)
        return np.asarray(self._renderer.render(), dtype=np.uint8)

    def labels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Semantic values and instance numbers of the picture's pixels, (H, W) each."""
        self._draw(labels=True)
        geoms = np.asarray(self._renderer.render())[..., 0] + 1
        return self._semantic_of[geoms], self._instance_of[geoms]

    def depth(self) -> NDArray[np.float32]:
        """Metres along the optical axis, (H, W); what is beyond the horizon lies at the far plane, 600 m."""
        self._draw(labels=False)
        self._renderer.enable_depth_rendering()
        try:
            return np.asarray(self._renderer.render(), dtype=np.float32)
        finally:
            self._renderer.disable_depth_rendering()

    def mirrored(self, pose_world_camera: FloatArray, fov_y_rad: float) -> NDArray[np.uint8]:
        """What a mirror in the place of the ground would show at each pixel, (H, W, 3) uint8 RGB.

        The camera has no roll, so the picture of its mirror image below ground, upside down, is that reflection.
        """
        mirror = np.diag([1.0, 1.0, -1.0, 1.0]) @ pose_world_camera @ np.diag([1.0, -1.0, 1.0, 1.0])
        self.look_from(mirror, fov_y_rad)
        self._draw(labels=False, ground=False)
        picture = np.asarray(self._renderer.render(), dtype=np.uint8)[::-1]
        self.look_from(pose_world_camera, fov_y_rad)
        return np.ascontiguousarray(picture)

    def _draw(self, *, labels: bool, ground: bool = True) -> None:
        renderer = self._renderer
        if renderer is None:
            raise SimulationError("this renderer was made for rays only; make it with a picture size to draw")
        if labels:
            renderer.enable_segmentation_rendering()
        else:
            renderer.disable_segmentation_rendering()
        flags = self._mujoco.mjtRndFlag
        renderer.scene.flags[flags.mjRND_FOG] = True
        renderer.scene.flags[flags.mjRND_HAZE] = False
        renderer.scene.flags[flags.mjRND_SHADOW] = self.scene.look.shadows
        self._shown.geomgroup[_GROUND_GROUP] = ground
        renderer.update_scene(self._data, "camera", self._shown)

    def cast(
        self, origin_m: FloatArray, directions: FloatArray, max_range_m: float
    ) -> tuple[FloatArray, NDArray[np.int32]]:
        """Nearest hits along unit `directions` (N, 3) from `origin_m`, world frame.

        Returns:
            ranges (N,) metres, infinite where nothing is hit, and hit geoms (N,), -1 for none.
        """
        count = len(directions)
        geoms, ranges = np.full(count, -1, np.int32), np.full(count, -1.0)
        arguments = (
            self._model,
            self._data,
            np.asarray(origin_m, float),
            np.ascontiguousarray(directions, float).ravel(),
            None,
            1,
            -1,
            geoms,
            ranges,
        )
        try:
            self._mujoco.mj_multiRay(*arguments, None, count, max_range_m)  # with the surface normals' slot
        except TypeError:
            self._mujoco.mj_multiRay(*arguments, count, max_range_m)
        ranges = np.where(geoms >= 0, ranges, np.inf)
        return ranges, geoms

    def hit_labels(self, geoms: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.float32]]:
        """Semantic value, instance number and brightness (about 0..1) of geoms from `cast`."""
        return self._semantic_of[geoms + 1], self._instance_of[geoms + 1], self._shine_of[geoms + 1]
