# SPDX-License-Identifier: Apache-2.0
"""Pictures of the hard world: layout, labels that agree, the same bytes again; the standard world as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from vl_anomaly_ros.errors import SimulationError
from vl_anomaly_ros.simulation.catalogue import KNOWN_CLASSES, anomaly_categories, class_index
from vl_anomaly_ros.simulation.ground import HARD_KINDS, kind_index
from vl_anomaly_ros.simulation.hard_view import HardCamera
from vl_anomaly_ros.simulation.hard_world import make_hard_scene
from vl_anomaly_ros.simulation.images import ImageSettings, generate_images
from vl_anomaly_ros.simulation.mujoco_renderer import MujocoRenderer
from vl_anomaly_ros.simulation.places import HARD_STYLES
from vl_anomaly_ros.simulation.views import random_view
from vl_anomaly_ros.simulation.world import make_scene

SIZE: dict[str, Any] = {"width": 128, "height": 64}
GROUND = {class_index("road"), class_index("lane marking")}


@pytest.fixture(scope="module")
def hard(gl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """One picture in the rain."""
    out = tmp_path_factory.mktemp("images") / "hard"
    generate_images(out, count=1, seed=12, anomalies="seen", views_per_scene=1, world="hard",
                    looks=("rain",), styles=("rural",), **SIZE)  # fmt: skip
    return out


def _picture(folder: Path, kind: str, frame: int) -> Any:
    return cv2.imread(str(folder / kind / f"{frame:06d}.png"), cv2.IMREAD_UNCHANGED)


def test_layout_and_description(hard: Path) -> None:
    about = yaml.safe_load((hard / "dataset.yaml").read_text(encoding="utf-8"))
    assert (about["world"], about["version"]) == ("hard", 1)
    assert about["hard_kinds"] == list(HARD_KINDS)
    assert about["settings"]["looks"] == ["rain"]
    assert about["styles"]["rural"] == about["looks"]["rain"] == 1
    records = [json.loads(line) for line in (hard / "objects.jsonl").read_text(encoding="utf-8").splitlines()]
    for record in records:
        values, counts = np.unique(_picture(hard, "hard", record["frame"]), return_counts=True)
        found = {HARD_KINDS[value]: int(count) for value, count in zip(values, counts, strict=True) if value}
        assert record["hard_px"] == found


def test_hard_things_lie_on_road_and_markings(hard: Path) -> None:
    kinds, semantic = _picture(hard, "hard", 0), _picture(hard, "semantic", 0)
    assert kinds.dtype == np.uint8
    assert kinds.shape == semantic.shape == (64, 128)
    assert set(np.unique(semantic[kinds > 0])) <= GROUND
    assert set(np.unique(semantic)) <= {*range(len(KNOWN_CLASSES)), 254}
    assert (kinds > 0).sum() > 60


def test_same_seed_same_bytes(hard: Path, tmp_path: Path) -> None:
    generate_images(tmp_path, count=1, seed=12, anomalies="seen", views_per_scene=1, world="hard",
                    looks=("rain",), styles=("rural",), **SIZE)  # fmt: skip
    for folder in ("images", "semantic", "instances", "hard"):
        name = f"{folder}/000000.png"
        assert (tmp_path / name).read_bytes() == (hard / name).read_bytes()


def test_the_standard_world_is_what_it_was() -> None:
    """The shipped bundle's figures were measured on this world: its things must not move by a hair."""
    digest = hashlib.sha256()
    for seed, style in ((1, "urban"), (2, "suburban"), (3, "rural")):
        scene = make_scene(seed, categories=anomaly_categories("all"), anomaly_count=4, length_m=60.0, style=style)
        for thing in scene.objects:
            corner = [round(float(v), 4) for v in (*thing.position_m, *thing.shape.low_m, *thing.shape.high_m)]
            colours = [[round(c, 4) for c in part.colour] for part in thing.shape.parts]
            digest.update(repr((thing.instance, thing.name, thing.variant, corner, colours)).encode())
    assert digest.hexdigest() == "1e28d7e14b9d9adf57c6c6c2f7c4bfc8975623ff6f9e9d609c6b39aacaea0a5c"


@pytest.mark.usefixtures("gl")
def test_an_aircraft_is_void_and_no_object() -> None:
    scene = make_hard_scene(5, length_m=110.0, style="apron", look="overcast")
    with MujocoRenderer(scene, 128, 64) as renderer:
        camera, rng = HardCamera(renderer), np.random.default_rng(0)
        found = 0
        for _ in range(6):
            view = random_view(rng, scene, 128, 64)
            renderer.look_from(view.pose_world_base @ view.mounting.pose_base_camera(), view.intrinsics.fov_y_rad)
            taken = camera.take(view, rng)
            assert (taken.instances[taken.semantic == 255] == 0).all()
            found += int((taken.semantic == 255).sum())
    assert found > 100


@pytest.mark.usefixtures("gl")
def test_depth_is_that_of_the_road_plane_and_the_mirror_shows_what_stands_on_it() -> None:
    scene = make_hard_scene(4, length_m=110.0, style="suburban", look="overcast")
    with MujocoRenderer(scene, 128, 64) as renderer:
        view = random_view(np.random.default_rng(3), scene, 128, 64)
        pose = view.pose_world_base @ view.mounting.pose_base_camera()
        renderer.look_from(pose, view.intrinsics.fov_y_rad)
        before, depth, (semantic, _) = renderer.colour(), renderer.depth(), renderer.labels()
        mirrored = renderer.mirrored(pose, view.intrinsics.fov_y_rad)
        np.testing.assert_array_equal(renderer.colour(), before)
    k = view.intrinsics.matrix
    v, u = np.mgrid[0:64, 0:128]
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], -1) @ pose[:3, :3].T
    plane = pose[2, 3] / np.maximum(-rays[..., 2], 1e-6)
    near = (semantic == class_index("road")) & (plane < 30)
    assert near.sum() > 300
    assert np.median(np.abs(depth[near] / plane[near] - 1)) < 0.02
    # Where the picture shows sky, a mirror would be above the road's plane: only the part below the horizon counts.
    assert mirrored[40:].std() > 5, "houses and sky, no flat colour"
    assert np.abs(mirrored[40:].astype(int) - before[40:].astype(int)).mean() > 10, "the road itself is not in it"


@pytest.mark.usefixtures("gl")
def test_what_is_marked_as_shadow_is_darker_than_the_road_around_it() -> None:
    scene = make_hard_scene(6, length_m=95.0, style="rural", look="noon")
    with MujocoRenderer(scene, 128, 64) as renderer:
        camera, rng = HardCamera(renderer), np.random.default_rng(1)
        shadow, lit = [], []
        for _ in range(3):
            view = random_view(rng, scene, 128, 64)
            renderer.look_from(view.pose_world_base @ view.mounting.pose_base_camera(), view.intrinsics.fov_y_rad)
            taken = camera.take(view, rng)
            light, road = taken.colour.mean(axis=2), taken.semantic == class_index("road")
            shadow.append(light[road & (taken.hard == kind_index("shadow"))])
            lit.append(light[road & (taken.hard == 0)])
    assert min(len(np.concatenate(part)) for part in (shadow, lit)) > 100
    assert np.median(np.concatenate(shadow)) < 0.75 * np.median(np.concatenate(lit))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"world": "easy"}, "world: expected standard or hard"),
        ({"looks": ("fog",)}, "looks: expected some of noon, .* in the standard world, got 'fog'"),
        ({"world": "hard", "styles": ("urban",)}, f"styles: expected some of {', '.join(HARD_STYLES)} in the hard"),
    ],
)
def test_bad_worlds_are_refused_by_name(change: dict[str, Any], text: str) -> None:
    with pytest.raises(SimulationError, match=text):
        ImageSettings(1, 0, **change)
