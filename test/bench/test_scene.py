# SPDX-License-Identifier: Apache-2.0
"""What the bench sends and the stub engine finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest

from bench.node_parts.scene import POINT, SWEEP_S, Rig, blobs, packed_points
from bench.node_parts.stub_engine import make_engine
from bench.street import street_frame
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import DepthStatus


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The stub without delay."""
    made = make_engine(Config().engine, street_frame()[2], 0.0, burn=False)
    yield made
    made.close()


def test_topics_carry_the_camera_only_where_there_are_several() -> None:
    assert set(Rig(1).outputs()) > {"/vl_anomaly/anomalies", "/vl_anomaly/hazard_zones"}
    several = Rig(4).outputs()
    assert several["/vl_anomaly/rear/anomalies"] == ("rear", "anomalies")
    assert several["/vl_anomaly/hazard_zones"] == ("", "hazard_zones")
    assert len(several) == 4 * 5 + 3


def test_the_side_cameras_are_turned_about_the_vertical_axis() -> None:
    T_front = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    T_left = Rig(4).place_of("left", T_front)
    ahead = T_left[:3, :3] @ [0.0, 0.0, 1.0]  # where the camera looks
    assert np.allclose(ahead, [0.5, np.sqrt(0.75), 0.0])
    assert np.allclose(Rig(4).place_of("front", T_front), T_front)


def test_the_packed_cloud_is_decoded_to_the_same_points_with_their_times() -> None:
    xyz = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    packed = packed_points(xyz)
    assert POINT.itemsize == 22
    layout = POINT.fields
    assert layout is not None
    codes = {"<f4": 7, "<u2": 4}
    fields = [
        SimpleNamespace(name=name, offset=place[1], datatype=codes[place[0].str], count=1)
        for name, place in layout.items()
    ]
    header = SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=0), frame_id="lidar")
    message = SimpleNamespace(
        header=header, height=1, width=50, point_step=22, row_step=22 * 50, is_bigendian=False, fields=fields,
        data=packed.tobytes(), is_dense=True,
    )  # fmt: skip
    cloud = decode_cloud(message)
    assert np.array_equal(cloud.xyz, xyz)
    assert cloud.offsets_ns is not None
    assert cloud.offsets_ns[0] == pytest.approx(-SWEEP_S * 1e9, abs=1e3)
    assert cloud.offsets_ns[-1] == 0


def test_blobs_lie_on_their_instances_and_apart() -> None:
    instances = np.zeros((100, 200), np.uint16)
    instances[20:60, 20:60], instances[20:60, 120:180] = 1, 2
    score = blobs(instances, 10, 20)
    assert (score[2:6, 2:6] > 0.9).all()
    assert (score[2:6, 12:18] > 0.9).all()
    assert score.sum() == pytest.approx((16 + 24) * 0.999, rel=1e-3)


def test_the_stub_engine_gives_twenty_regions_most_of_them_measured(engine: Engine) -> None:
    frame, _, _ = street_frame()
    result = Pipeline(Config(), lambda _: engine).process(frame)
    assert result.ok, result.reason
    assert len(result.regions) == len(result.zones) == 20
    assert sum(zone.status is DepthStatus.MEASURED for zone in result.zones) >= 14
    assert result.engine.startswith("stub-0ms/")


@pytest.mark.parametrize("burn", [False, True])
def test_the_stub_engine_takes_its_time(burn: bool) -> None:
    slow = make_engine(Config().engine, street_frame()[2], 60.0, burn=burn)
    image = np.zeros((1080, 1920, 3), np.uint8)
    began = perf_counter()
    slow.run(image)
    assert perf_counter() - began >= 0.06  # it waits; how long the rest takes is another matter
    slow.close()


def test_the_stub_engine_keeps_the_checks_of_the_real_one(engine: Engine) -> None:
    features = engine.backend.visual(np.zeros((1, 256, 512, 3), np.uint8))
    broken = replace(features, clip_features=np.full_like(features.clip_features, np.nan))
    with pytest.raises(Exception, match="clip_features"):
        engine._check_features(broken)
