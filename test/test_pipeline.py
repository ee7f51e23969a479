# SPDX-License-Identifier: Apache-2.0
"""One frame through the whole pipeline, on pictures whose answer is known."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tiny_bundle import BLUE, CALIBRATION, GREEN, GREY, MAGENTA, POISON_RGB, RED, build_tiny_bundle, picture

from vl_anomaly_ros import pipeline as module
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.errors import BundleError, ConfigError, GeometryError
from vl_anomaly_ros.evaluation.seal import seal
from vl_anomaly_ros.geometry.scene import R_OPTICAL_LEVEL
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.text.vocabulary import KnownClass
from vl_anomaly_ros.types import (
    ByteArray,
    CameraCalibration,
    DepthStatus,
    Frame,
    FrameResult,
    NameSource,
    PointCloud,
)

GOLDEN = Path(__file__).parent / "golden" / "pipeline.json"


def frame(image: ByteArray, **changes: Any) -> Frame:
    return Frame(stamp_ns=5, camera="front", frame_id="optical", image=image, output_frame="base_link", **changes)


def same(first: FrameResult, second: FrameResult) -> bool:
    arrays = ("probability", "mask", "instances", "segmentation", "R_zone_level")
    return (
        all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
        and first.regions == second.regions
        and first.class_names == second.class_names
        and len(first.zones) == len(second.zones)
    )


def test_finds_and_names_what_is_not_known(tiny_pipeline: Pipeline) -> None:
    result = tiny_pipeline.process(frame(picture(320, 160)))
    assert result.ok
    assert result.reason == ""
    assert result.class_names == ("road", "vegetation", "sky", "dog", "sofa")
    assert [region.label.name for region in result.regions] == ["dog", "sofa"]
    assert {region.label.source for region in result.regions} == {NameSource.DICTIONARY}
    for region, (x0, x1) in zip(result.regions, [(40, 120), (200, 280)]):
        assert np.allclose(region.bbox, (x0, 80, x1, 140), atol=3)
        assert region.probability > 0.8
    segmentation = result.segmentation
    points = {(160, 10): 2, (160, 60): 1, (160, 150): 0, (80, 110): 3, (240, 110): 4}
    assert {point: segmentation[point[1], point[0]] for point in points} == points


def test_shapes_and_types(tiny_pipeline: Pipeline) -> None:
    result = tiny_pipeline.process(frame(picture(317, 143)))
    for name, dtype in (("probability", "f4"), ("mask", "u1"), ("instances", "u2"), ("segmentation", "u1")):
        array = getattr(result, name)
        assert array.shape == (143, 317), name
        assert array.dtype == np.dtype(dtype), name
    assert set(np.unique(result.mask)) == {0, 255}
    assert result.engine == "onnxruntime-cpu/tiny"
    assert result.timing.total_ms >= result.timing.engine_ms > 0


def test_looked_and_nothing_there(tiny_pipeline: Pipeline) -> None:
    image = picture()
    image[np.all(image == RED, axis=2) | (image[..., 0] > 200)] = GREY
    result = tiny_pipeline.process(frame(image))
    assert result.ok
    assert (result.regions, result.zones) == ((), ())
    assert not result.mask.any()
    assert result.class_names == ("road", "vegetation", "sky")


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (1, 50), (50, 1), (13, 7), (64, 32), (1242, 375), (1920, 1080), (600, 900)]
)
@pytest.mark.parametrize("colour", [RED, GREY])
def test_any_image_size(tiny_pipeline: Pipeline, width: int, height: int, colour: tuple[int, int, int]) -> None:
    pipeline = tiny_pipeline
    pipeline.reconfigure(with_values(pipeline.config, {"regions.min_area_px": 1}))
    result = pipeline.process(frame(np.full((height, width, 3), colour, np.uint8)))
    assert result.ok
    assert result.mask.shape == (height, width)
    assert np.all(result.mask == (255 if colour == RED else 0))
    assert len(result.regions) == len(result.zones) == (1 if colour == RED else 0)


def test_golden(tiny_pipeline: Pipeline) -> None:
    """What this pipeline said when it was written; a change here changes what vehicles see.

    Tolerance: 2e-4 in probabilities, scores and confidences, and 1 pixel: other CPUs and library versions round
    differently.
    """
    result = tiny_pipeline.process(frame(picture(320, 160)))
    regions: list[dict[str, Any]] = [
        {
            "bbox": list(region.bbox),
            "area_px": region.area_px,
            "centroid_px": list(region.centroid_px),
            "probability": region.probability,
            "sources": list(region.sources),
            "name": region.label.name,
            "confidence": region.label.confidence,
        }
        for region in result.regions
    ]
    golden = json.loads(GOLDEN.read_text())
    assert [region["name"] for region in regions] == [region["name"] for region in golden["regions"]]
    for have, want in zip(regions, golden["regions"]):
        np.testing.assert_allclose(have["bbox"], want["bbox"], atol=1)
        np.testing.assert_allclose(have["area_px"], want["area_px"], rtol=0.03)
        np.testing.assert_allclose(have["centroid_px"], want["centroid_px"], atol=1)
        for key in ("probability", "sources", "confidence"):
            np.testing.assert_allclose(have[key], want[key], atol=2e-4, err_msg=key)
    np.testing.assert_allclose(result.probability[::16, ::16], golden["probability_every_16_px"], atol=2e-4)


def test_same_frame_same_bits(tiny_bundle: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 500, 3), dtype=np.uint8)
    results = []
    for _ in range(2):
        settings = {"engine.bundle": str(tiny_bundle), "regions.min_area_px": 1, "regions.threshold": 0.1}
        pipeline = Pipeline(with_values(Config(), settings))
        results += [pipeline.process(frame(image)), pipeline.process(frame(image))]
    assert results[0].regions
    assert all(same(results[0], other) for other in results[1:])


def test_pictures_read_late_are_those_of_their_own_frame(tiny_pipeline: Pipeline) -> None:
    """They are made when they are read; by then the engine and the vocabulary may be further on."""
    names = ("probability", "mask", "instances", "segmentation")
    result = tiny_pipeline.process(frame(picture()))
    at_once = {name: getattr(result, name).copy() for name in names}
    late = tiny_pipeline.process(frame(picture()))
    vocabulary = tiny_pipeline.vocabulary
    tiny_pipeline.set_vocabulary(replace(vocabulary, known=(*vocabulary.known, KnownClass("fox"))))
    tiny_pipeline.reconfigure(with_values(tiny_pipeline.config, {"regions.threshold": 0.01}))
    for _ in range(3):
        tiny_pipeline.process(frame(picture()[::-1].copy()))
    assert late.class_names == result.class_names
    for name in names:
        np.testing.assert_array_equal(getattr(late, name), at_once[name])


def test_an_engine_failure_is_unknown_not_empty(tiny_pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    image = picture()
    image[0, 0] = POISON_RGB
    image[:8, :8] = POISON_RGB
    with caplog.at_level(logging.WARNING):
        result = tiny_pipeline.process(frame(image))
    assert not result.ok
    assert "finite" in result.reason
    assert result.mask.size == 0
    assert (result.engine, result.frame.stamp_ns) == ("onnxruntime-cpu/tiny", 5)
    assert "front" in caplog.text
    assert tiny_pipeline.process(frame(picture())).ok


def test_a_geometry_failure_is_unknown_not_empty(tiny_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise GeometryError("the transform is not a rotation")

    monkeypatch.setattr(module, "fuse", broken)
    result = tiny_pipeline.process(frame(picture()))
    assert (result.ok, result.reason) == (False, "the transform is not a rotation")


def test_programming_errors_are_not_swallowed(tiny_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fuse", None)
    with pytest.raises(TypeError):
        tiny_pipeline.process(frame(picture()))


def test_closed(tiny_bundle: Path) -> None:
    pipeline = Pipeline(with_values(Config(), {"engine.bundle": str(tiny_bundle)}))
    pipeline.close()
    result = pipeline.process(frame(picture()))
    assert not result.ok
    assert "closed" in result.reason


def test_a_missing_bundle_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.yaml"):
        Pipeline(with_values(Config(), {"engine.bundle": str(tmp_path)}))


def test_a_new_known_class_acts_on_the_next_frame(tiny_pipeline: Pipeline) -> None:
    """What is red is known now; only the detector, which never saw it, keeps doubting."""
    pipeline = tiny_pipeline
    pipeline.reconfigure(with_values(pipeline.config, {"method.source_weights": (0.0, 1.0, 1.0)}))
    before = pipeline.process(frame(picture()))
    vocabulary = replace(
        pipeline.vocabulary, known=(*pipeline.vocabulary.known, KnownClass("fox")), ood_prompts=("furniture",)
    )
    assert pipeline.set_vocabulary(vocabulary) == 1
    after = pipeline.process(frame(picture()))
    assert [region.label.name for region in before.regions] == ["dog", "sofa"]
    assert [region.label.name for region in after.regions] == ["sofa"]
    assert after.class_names == ("road", "vegetation", "sky", "fox", "sofa")
    assert after.segmentation[110, 80] == 3
    assert (before.vocabulary_revision, after.vocabulary_revision, pipeline.vocabulary_revision) == (0, 1, 1)
    assert pipeline.vocabulary is vocabulary


def test_a_name_becomes_approved_when_a_person_adds_the_word(tiny_pipeline: Pipeline) -> None:
    vocabulary = tiny_pipeline.vocabulary
    tiny_pipeline.set_vocabulary(replace(vocabulary, ood_prompts=(*vocabulary.ood_prompts, "dog")))
    labels = [region.label for region in tiny_pipeline.process(frame(picture())).regions]
    assert [(label.name, label.approved) for label in labels] == [("dog", True), ("sofa", False)]


def test_names_that_images_suggest_become_classes_of_the_segmentation(tiny_pipeline: Pipeline) -> None:
    """A region that is half dog, half sofa: one name for the region, but two kinds of pixels once both are added."""
    pipeline = tiny_pipeline
    # A cell of the mask is more than the usual hundredth of so small an image.
    values = {"growth_min_images": 2, "growth_max_takeover": 0.05, "min_confidence": 0.0}
    settings = {"method.name": "clipomaly", **{f"naming.{name}": value for name, value in values.items()}}
    pipeline.reconfigure(with_values(pipeline.config, settings))
    both = picture()
    both[80:140, 120:200] = MAGENTA  # from the red thing to the magenta one: one region
    results = [pipeline.process(frame(image)) for image in (picture(), picture(), both)]
    assert [result.class_names[3:] for result in results[:2]] == [("dog", "sofa")] * 2
    assert len(results[2].regions) == 1
    names = results[2].class_names
    assert set(names[3:]) == {"dog", "sofa"}
    assert names[results[2].segmentation[110, 60]] == "dog"
    assert names[results[2].segmentation[110, 240]] == "sofa"
    assert names[results[2].segmentation[20, 20]] == "sky"
    np.testing.assert_array_equal(results[0].mask, results[1].mask)
    assert np.all(results[2].segmentation[results[2].mask > 0] >= 3)
    pipeline.reconfigure(with_values(pipeline.config, {"naming.growth": "off"}))
    off = pipeline.process(frame(both))
    assert len(np.unique(off.segmentation[off.mask > 0])) == 1


def test_an_engine_that_fails_at_the_second_look_leaves_the_frame_unknown(
    tiny_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("device lost")

    values = {"method.name": "clipomaly", "naming.growth_min_images": 1}
    tiny_pipeline.reconfigure(with_values(tiny_pipeline.config, values))
    monkeypatch.setattr(tiny_pipeline.engine, "segment", broken)
    result = tiny_pipeline.process(frame(picture()))
    assert (result.ok, result.reason) == (False, "the engine failed: RuntimeError: device lost")
    assert tiny_pipeline.engine_failures == 1


def test_settings_change_between_frames(tiny_pipeline: Pipeline) -> None:
    def regions(**values: Any) -> int:
        names = {name.replace("__", "."): value for name, value in values.items()}
        tiny_pipeline.reconfigure(with_values(tiny_pipeline.config, names))
        return len(tiny_pipeline.process(frame(picture())).regions)

    assert regions(regions__threshold=0.995) == 0
    assert regions(regions__threshold=-1.0) == 2
    assert regions(regions__min_area_px=10_000) == 0
    assert regions(regions__min_area_px=60, regions__max_regions=1) == 1
    tiny_pipeline.reconfigure(
        with_values(tiny_pipeline.config, {"naming.min_confidence": 1.0, "regions.max_regions": 64})
    )
    result = tiny_pipeline.process(frame(picture()))
    assert result.regions[0].label.source is NameSource.NONE
    assert result.regions[0].label.runners_up[0][0] == "dog"
    assert "unknown" in result.class_names


def test_a_method_that_the_bundle_is_not_calibrated_for_is_refused(tmp_path: Path) -> None:
    """Its scores would be read by another method's probabilities and threshold."""
    bundle = build_tiny_bundle(tmp_path / "b")
    only = {key: value for key, value in CALIBRATION.items() if key != "methods"}
    (bundle / "calibration.yaml").unlink()
    seal(bundle, calibration=only)
    settings = with_values(Config(), {"engine.bundle": str(bundle), "engine.threads": 1})
    message = (
        r"method\.name: expected one that the bundle tiny is calibrated for \(vl_anomaly\), got vl4ad; run vl-anomaly"
    )
    with pytest.raises(ConfigError, match=message):
        Pipeline(with_values(settings, {"method.name": "vl4ad"}))
    pipeline = Pipeline(settings)
    with pytest.raises(ConfigError, match=message):
        pipeline.reconfigure(with_values(settings, {"method.name": "vl4ad", "regions.threshold": 0.9}))
    assert pipeline.config == settings
    assert pipeline.process(frame(picture())).method == "vl_anomaly"


def test_each_method_is_read_by_its_own_calibration(tmp_path: Path) -> None:
    bundle = build_tiny_bundle(tmp_path / "b")
    only = {key: value for key, value in CALIBRATION.items() if key != "methods"}
    seal(bundle, calibration={**only, "threshold": 1.0}, method="vl4ad")
    pipeline = Pipeline(with_values(Config(), {"engine.bundle": str(bundle), "engine.threads": 1}))
    assert len(pipeline.process(frame(picture())).regions) == 2
    pipeline.reconfigure(with_values(pipeline.config, {"method.name": "vl4ad"}))
    assert len(pipeline.process(frame(picture())).regions) == 0


def test_what_is_fixed_at_start_stays(tiny_pipeline: Pipeline) -> None:
    before = tiny_pipeline.config
    with pytest.raises(ConfigError, match=r"engine\.threads: expected 1 as at start, got 2; it is read-only"):
        tiny_pipeline.reconfigure(with_values(before, {"engine.threads": 2, "regions.threshold": 0.9}))
    assert tiny_pipeline.config is before


def test_the_bundle_is_identified(tiny_pipeline: Pipeline) -> None:
    assert tiny_pipeline.bundle.name == "tiny"
    assert len(tiny_pipeline.bundle.sha256) == 64
    assert tiny_pipeline.engine_name == "onnxruntime-cpu/tiny"


def test_without_depth_every_region_still_has_a_zone(tiny_pipeline: Pipeline) -> None:
    result = tiny_pipeline.process(frame(picture()))
    assert [zone.region_id for zone in result.zones] == [1, 2]
    assert {zone.status for zone in result.zones} == {DepthStatus.UNKNOWN}
    assert result.zone_frame == "optical"
    np.testing.assert_array_equal(result.R_zone_level, R_OPTICAL_LEVEL)


def looking_at_a_wall(distance_m: float) -> tuple[PointCloud, CameraCalibration, npt.NDArray[np.float64]]:
    """Flat ground 1.5 m below the camera and a wall that stands on it, as points in the optical frame.

    At 4 m the wall meets the ground in the row where the things of `picture` end.
    """
    rng = np.random.default_rng(0)
    ground = np.stack([rng.uniform(-8, 8, 4000), np.full(4000, 1.5), rng.uniform(2, 40, 4000)], axis=1)
    wall = np.stack([rng.uniform(-8, 8, 6000), rng.uniform(-0.5, 1.5, 6000), np.full(6000, distance_m)], axis=1)
    points = PointCloud(np.concatenate([ground, wall]).astype(np.float32), 5, "optical")
    K = np.array([[160.0, 0, 160], [0, 160, 80], [0, 0, 1]])
    T_output_camera = np.eye(4)
    T_output_camera[:3, :3] = R_OPTICAL_LEVEL.T
    T_output_camera[2, 3] = 1.5
    return points, CameraCalibration(320, 160, K, "optical"), T_output_camera


def test_with_depth_zones_are_measured(tiny_pipeline: Pipeline) -> None:
    points, calibration, T_output_camera = looking_at_a_wall(4.0)
    inputs = frame(
        picture(320, 160),
        points=points,
        calibration=calibration,
        T_camera_points=np.eye(4),
        T_output_camera=T_output_camera,
        T_output_ego=np.eye(4),
        tf_age_s=0.0,
    )
    result = tiny_pipeline.process(inputs)
    assert result.zone_frame == "base_link"
    assert [zone.status for zone in result.zones] == [DepthStatus.MEASURED] * 2
    left, right = result.zones
    assert left.distance_m == pytest.approx(4.0, abs=0.3)
    assert left.center_m[1] > 1  # the dog is on the left: +y
    assert right.center_m[1] < -1


def test_an_engine_can_be_handed_in(tiny_bundle: Path) -> None:
    config = with_values(Config(), {"engine.bundle": str(tiny_bundle)})
    engine = Engine.from_config(config.engine)
    assert Pipeline(config, lambda _: engine).process(frame(picture())).ok
    assert Pipeline(Config(), lambda _: engine).engine_name == "onnxruntime-cpu/tiny"


def test_colours_of_the_scene_alone_are_known(tiny_pipeline: Pipeline) -> None:
    for index, colour in enumerate((GREY, GREEN, BLUE)):
        result = tiny_pipeline.process(frame(np.full((40, 90, 3), colour, np.uint8)))
        assert np.all(result.segmentation == index)
        assert result.probability.max() < 0.1


def test_a_bundle_exchanged_on_the_disk_comes_into_use_only_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "bundle")
    config = with_values(Config(), {"engine.bundle": str(folder), "engine.threads": 1})
    pipeline = Pipeline(config)
    before = pipeline.process(frame(picture(320, 160)))
    pipeline.successor().close()

    build_tiny_bundle(folder, name="other")
    assert same(pipeline.process(frame(picture(320, 160))), before)
    with pytest.raises(BundleError, match=r"expected the bundle \w{12}\.\.\. that was configured"):
        pipeline.successor()
    asked_for = Pipeline(config)
    assert asked_for.bundle.name == "other"
    asked_for.close()

    (folder / "head.onnx").write_bytes(b"half written")
    assert same(pipeline.process(frame(picture(320, 160))), before)
    for again in (pipeline.successor, lambda: Pipeline(config)):
        with pytest.raises(BundleError, match=r"head\.onnx: expected SHA-256"):
            again()
    pipeline.close()


def test_threads_at_once_say_what_one_after_the_other_says(tiny_bundle: Path) -> None:
    settings = {"engine.bundle": str(tiny_bundle), "engine.backend": "onnxruntime", "engine.threads": 1}
    images = [np.ascontiguousarray(np.roll(picture(320, 160), 40 * shift, axis=1)) for shift in range(4)]
    one = Pipeline(with_values(Config(), settings))
    wanted = [one.process(frame(image)) for image in images]
    one.close()
    several = Pipeline(with_values(Config(), {**settings, "engine.parallel": 3}))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda number: several.process(frame(images[number % 4])), range(120)))
    several.close()
    assert all(result.ok for result in found)
    assert all(same(result, wanted[number % 4]) for number, result in enumerate(found))


def test_threads_at_once_share_what_grows(tiny_bundle: Path) -> None:
    settings = {
        "engine.bundle": str(tiny_bundle), "engine.backend": "onnxruntime", "engine.parallel": 3,
        "naming.growth": "on", "naming.growth_min_images": 2,
    }  # fmt: skip
    pipeline = Pipeline(with_values(Config(), settings))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: pipeline.process(frame(picture(320, 160))), range(60)))
    assert all(result.ok for result in found)
    last = pipeline.process(frame(picture(320, 160)))
    pipeline.close()
    assert {"dog", "sofa"} <= set(last.class_names)
    assert same(last, found[-1])
