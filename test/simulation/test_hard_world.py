# SPDX-License-Identifier: Apache-2.0
"""The hard world: places, looks, exemplars; the standard world and the splits stay as they are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from vl_anomaly_ros.simulation.airside import aircraft, light_mast, passenger_bridge, service_vehicle
from vl_anomaly_ros.simulation.catalogue import ANOMALIES, KNOWN_CLASSES, anomaly_categories
from vl_anomaly_ros.simulation.hard_looks import HARD_LOOKS, draw_hard_look, make_hard_look
from vl_anomaly_ros.simulation.hard_world import make_hard_scene
from vl_anomaly_ros.simulation.places import HARD_SHARES, HARD_STYLES, PLACES, STYLES
from vl_anomaly_ros.simulation.scene import ANOMALY_VALUE, VOID_VALUE, Scene
from vl_anomaly_ros.simulation.textures import TILE_M
from vl_anomaly_ros.simulation.vary import vary
from vl_anomaly_ros.simulation.views import place_things, random_view
from vl_anomaly_ros.simulation.world import make_scene


def _fingerprint(scene: Scene) -> str:
    digest = hashlib.sha256(repr((scene.look, scene.section, scene.style)).encode())
    for thing in scene.objects:
        digest.update(repr((thing.name, thing.semantic, thing.position_m.tolist(), thing.yaw_rad)).encode())
        for part in thing.shape.parts:
            digest.update(part.mesh.vertices.tobytes() + repr((part.texture, part.colour, part.glow)).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """One scene of every place of the hard world, with anomalies of both splits."""
    return {
        style: make_hard_scene(7, categories=anomaly_categories("all"), anomaly_count=4, length_m=95.0, style=style)
        for style in HARD_STYLES
    }


def test_same_seed_same_scene_and_another_seed_another() -> None:
    rows = anomaly_categories("seen")
    one, again, other = (
        _fingerprint(make_hard_scene(seed, categories=rows, anomaly_count=3, length_m=30.0, style="rural"))
        for seed in (5, 5, 6)
    )
    assert one == again != other


def test_things_have_known_classes_or_are_anomalies(scenes: dict[str, Scene]) -> None:
    words = {row.name: row.split for row in ANOMALIES}
    for scene in scenes.values():
        numbers = [thing.instance for thing in scene.objects if thing.instance]
        assert len(numbers) == len(set(numbers))
        for thing in scene.objects:
            if thing.split != "known":
                assert thing.semantic == ANOMALY_VALUE
                assert words[thing.name] == thing.split
            elif thing.name == "aircraft":
                assert (thing.semantic, thing.instance) == (VOID_VALUE, 0)
            else:
                assert KNOWN_CLASSES[thing.semantic] == thing.name
            assert all(part.texture in TILE_M for part in thing.shape.parts)


def test_no_anomaly_comes_from_a_split_that_was_not_asked_for() -> None:
    for split in ("none", "unseen"):
        rows = anomaly_categories(split)
        scene = make_hard_scene(2, categories=rows, anomaly_count=5, length_m=30.0, style="rural")
        found = {thing.name for thing in scene.objects if thing.split != "known"}
        assert found <= {row.name for row in rows}
        assert bool(found) == (split != "none")


def test_places_have_what_they_are_called_after(scenes: dict[str, Scene]) -> None:
    variants = {style: {thing.variant for thing in scene.objects} for style, scene in scenes.items()}
    assert "gantry" in variants["motorway"]
    assert variants["motorway"] & {"wall", "guardrail"}
    assert not any(thing.name == "cyclist" for thing in scenes["motorway"].objects)
    assert {"aircraft", "light mast"} <= variants["apron"]
    assert scenes["apron"].objects[0].shape.parts[0].texture == "concrete"
    people = {style: sum(t.name == "person" for t in scene.objects) for style, scene in scenes.items()}
    assert people["city"] > 2 * people["rural"]
    assert scenes["motorway"].section.lanes_right >= 2


def test_every_hard_place_has_its_numbers() -> None:
    assert set(STYLES) | set(HARD_STYLES) == set(PLACES)
    assert len(HARD_SHARES) == len(HARD_STYLES)
    assert sum(HARD_SHARES) == pytest.approx(1.0)


def test_looks_are_what_they_are_called() -> None:
    looks = {name: make_hard_look(np.random.default_rng(1), name, 0.4) for name in HARD_LOOKS}
    assert {name for name, look in looks.items() if look.wetness > 0} == {"rain", "wet dusk"}
    assert looks["fog"].fog_m < 200 < looks["rain"].fog_m
    assert np.isinf(looks["noon"].fog_m)
    assert {name for name, look in looks.items() if look.lamps >= 2} <= {"dusk", "wet dusk", "fog", "rain"}
    assert {"dusk", "wet dusk"} <= {name for name, look in looks.items() if look.lamps >= 2}
    assert max(looks["dusk"].ambient) < min(looks["overcast"].ambient)
    assert abs(looks["glare"].sun_azimuth_rad - 0.4) < 0.36, "the sun that dazzles stands ahead"
    assert looks["glare"].sun_elevation_rad < looks["noon"].sun_elevation_rad
    drawn = {draw_hard_look(np.random.default_rng(seed)) for seed in range(120)}
    assert drawn == set(HARD_LOOKS)


def test_naming_the_look_changes_nothing_but_the_look() -> None:
    one, two = (make_hard_scene(3, length_m=30.0, style="rural", look=look) for look in ("noon", "low sun"))
    assert [thing.variant for thing in one.objects[:4]] == [thing.variant for thing in two.objects[:4]]
    np.testing.assert_array_equal(one.objects[0].shape.parts[0].mesh.vertices,
                                  two.objects[0].shape.parts[0].mesh.vertices)  # fmt: skip
    assert one.look.name != two.look.name


def test_exemplars_of_a_category_differ_and_stay_in_size() -> None:
    for row in ANOMALIES:
        rng = np.random.default_rng(4)
        size = float(np.mean(row.size_m))
        plain = row.build(np.random.default_rng(1), size)
        varied = [vary(rng, plain) for _ in range(4)]
        assert len({tuple(shape.size_m.round(4)) for shape in varied}) == 4, row.name
        for shape in varied:
            assert shape.low_m[2] == pytest.approx(0.0, abs=1e-9)
            ratio = shape.size_m.max() / plain.size_m.max()
            assert 0.7 < ratio < 1.4, row.name
            assert all(0 <= value <= 1 for part in shape.parts for value in part.colour)


def test_airside_shapes_have_the_right_size() -> None:
    rng = np.random.default_rng(3)
    for _ in range(12):
        kind, shape = service_vehicle(rng)
        assert 3.5 < shape.size_m[0] < 15, kind
        assert shape.size_m[2] < 6.5
    plane = aircraft(rng)
    assert 20 < plane.size_m[0] < 42
    assert plane.size_m[1] > 0.8 * plane.size_m[0] * 0.9
    assert passenger_bridge(rng).size_m[0] > 15
    assert light_mast(rng).size_m[2] > 13
    assert all(np.isfinite(part.mesh.vertices).all() for part in plane.parts)


def _placed(scene: Scene, *, hard: bool) -> list[tuple[float, float]]:
    """Distance and direction from the camera of the anomalies and then of the known things, over many views."""
    rng, distances = np.random.default_rng(7), []
    for _ in range(30):
        view = random_view(rng, scene, 64, 32)
        place_things(rng, scene, view, 3.0, hard=hard)
        eye = (view.pose_world_base @ view.mounting.pose_base_camera())[:3, 3]
        odd = [t for t in scene.objects if t.movable and t.placed and t.split != "known"]
        users = [t for t in scene.objects if t.movable and t.placed and t.split == "known"]
        for thing in odd:
            offset = (thing.position_m - eye)[:2]
            reach, bearing = float(np.hypot(*offset)), float(np.arctan2(offset[1], offset[0]))
            covered = 0
            for other in users:
                to = (other.position_m - eye)[:2]
                near = float(np.hypot(*to))
                gap = abs((np.arctan2(to[1], to[0]) - bearing + np.pi) % (2 * np.pi) - np.pi)
                covered += near < reach and gap < thing.radius_m / reach + other.radius_m / near
            distances.append((reach, float(covered > 0)))
    return distances


def test_anomalies_are_nearer_farther_and_more_often_partly_hidden() -> None:
    categories = anomaly_categories("all")
    standard = _placed(make_scene(5, categories=categories, anomaly_count=8, length_m=150.0, style="rural"), hard=False)
    hard = _placed(make_hard_scene(5, categories=categories, anomaly_count=8, length_m=150.0, style="rural"), hard=True)
    assert max(reach for reach, _ in hard) > max(reach for reach, _ in standard)
    assert min(reach for reach, _ in hard) < min(reach for reach, _ in standard)
    share = [float(np.mean([covered for _, covered in which])) for which in (standard, hard)]
    assert share[1] > share[0] + 0.1


def test_road_coordinates_of_a_point_are_found_again(scenes: dict[str, Scene]) -> None:
    line = scenes["rural"].line
    for s, d in ((20.0, 3.0), (71.3, -4.5), (88.0, 0.0)):
        np.testing.assert_allclose(line.locate(line.place(s, d)[:2]), (s, d), atol=0.03)
