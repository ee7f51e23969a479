# SPDX-License-Identifier: Apache-2.0
"""Every published layout is found and read with its own convention; other folders get one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import benchmark_maker
import cv2
import numpy as np
import pytest
from benchmark_maker import BORDER, DOG, MAKERS, SIZE, SKY, labels, picture, write

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.benchmarks import BENCHMARKS, BenchmarkSet
from vl_anomaly_ros.evaluation.conventions import CITYSCAPES_CLASSES

LOSSY = {"road-anomaly", "road-anomaly-21", "road-obstacle-21", "bdd-anomaly"}


def opened(name: str, root: Path, make: Callable[[Path], None] | None = None) -> BenchmarkSet:
    (make or MAKERS[name])(root)
    return BenchmarkSet(BENCHMARKS[name], root)


def test_every_benchmark_has_a_made_up_one() -> None:
    assert set(MAKERS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_pictures_and_labels_are_read(name: str, tmp_path: Path) -> None:
    examples = list(opened(name, tmp_path))
    assert len(examples) == (1 if name == "lost-and-found-no-known" else 2)
    assert len({example.name for example in examples}) == len(examples)
    for example in examples:
        image, truth = example.image(), example.truth()
        assert image.shape == (*SIZE, 3)
        shown = picture(dog=name != "cityscapes")
        assert np.abs(image.astype(int) - shown).mean() < (12 if name in LOSSY else 4)
        anomalous = 0 if name == "cityscapes" else 1
        assert set(np.unique(truth.label[DOG])) == {anomalous}
        assert set(np.unique(truth.label[BORDER])) == {255}
        expected_of_sky = 255 if name.startswith("lost") else 0
        assert set(np.unique(truth.label[SKY])) == {expected_of_sky}
        assert truth.label[22, 0] == 0  # road


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_folder_that_holds_it_will_do(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / BENCHMARKS[name].folder)
    assert len(BenchmarkSet(BENCHMARKS[name], tmp_path)) >= 1


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("wrong", ["empty", "absent", "another"])
def test_a_wrong_folder_is_one_sentence_that_says_what_was_expected(name: str, wrong: str, tmp_path: Path) -> None:
    if wrong == "empty":
        (tmp_path / wrong).mkdir()
    elif wrong == "another":
        (tmp_path / wrong / "images").mkdir(parents=True)
        (tmp_path / wrong / "images" / "a.txt").write_text("")
    with pytest.raises(EvaluationError) as caught:
        BenchmarkSet(BENCHMARKS[name], tmp_path / wrong)
    message = str(caught.value)
    assert BENCHMARKS[name].name in message
    assert BENCHMARKS[name].expected in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    MAKERS["cityscapes"](tmp_path)
    gone = tmp_path / "gtFine" / "val" / "munster" / "munster_000001_000019_gtFine_labelIds.png"
    gone.unlink()
    with pytest.raises(EvaluationError, match=rf"{gone.name} is absent, 1 in all"):
        BenchmarkSet(BENCHMARKS["cityscapes"], tmp_path)


def test_values_of_another_convention_are_refused(tmp_path: Path) -> None:
    """BDD's labels shifted by one, as some repositories keep them, would make cars out of riders."""
    MAKERS["bdd-anomaly"](tmp_path)
    path = tmp_path / "seg" / "labels" / "train" / "0a_train_id.png"
    write(path, labels(1, 11, 19, 0))
    write(tmp_path / "seg" / "labels" / "val" / "0c_train_id.png", labels(1, 11, 18, 19))
    (example,) = BenchmarkSet(BENCHMARKS["bdd-anomaly"], tmp_path)
    with pytest.raises(EvaluationError, match=r"0c_train_id\.png: label: expected values 0\.\.18, 255, got 19"):
        example.truth()


def test_coloured_or_damaged_labels_are_refused(tmp_path: Path) -> None:
    (example, other) = opened("road-anomaly-21", tmp_path)
    grey_as_colour = np.repeat(labels(0, 0, 1, 255)[..., None], 3, 2)
    write(example.pair.label, grey_as_colour)
    assert set(np.unique(example.truth().label[DOG])) == {1}
    write(example.pair.label, picture())
    with pytest.raises(EvaluationError, match="grey picture"):
        example.truth()
    write(example.pair.label, labels(0, 0, 1, 255).astype(np.uint16))
    with pytest.raises(EvaluationError, match="8 bits"):
        example.truth()
    other.pair.image.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="damaged"):
        other.image()


def test_known_classes_are_those_of_the_data_set(tmp_path: Path) -> None:
    made = opened("cityscapes", tmp_path / "cs")
    assert made.classes == CITYSCAPES_CLASSES
    semantic = next(iter(made)).truth().semantic
    assert semantic is not None
    assert [semantic[22, 0], semantic[0, 0], semantic[30, 40], semantic[47, 0]] == [0, 10, 13, 255]
    made = opened("bdd-anomaly", tmp_path / "bdd")
    assert made.classes == CITYSCAPES_CLASSES[:16]
    made = opened("street-hazards", tmp_path / "sh")
    assert "pedestrian" in made.classes
    semantic = next(iter(made)).truth().semantic
    assert semantic is not None
    assert made.classes[semantic[22, 0]] == "road"
    assert semantic[0, 0] == 255  # unlabelled: normal, but no class
    assert opened("road-anomaly", tmp_path / "ra").classes == ()


@pytest.mark.parametrize("make", [MAKERS["bdd-anomaly"], benchmark_maker.bdd_anomaly_today])
def test_bdd_anomaly_is_the_pictures_with_anomalies_and_names_them(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    examples = list(opened("bdd-anomaly", tmp_path, make))
    assert [example.name for example in examples] == ["0a", "0c"]
    things = [thing for example in examples for thing in example.truth().things]
    assert [thing.name for thing in things] == ["motorcycle", "bicycle"]
    assert all(thing.mask[DOG].all() and thing.mask.sum() == 16 * 24 for thing in things)


def test_an_overlay_is_added_and_clipped(tmp_path: Path) -> None:
    example = next(iter(opened("fishyscapes-static", tmp_path)))
    assert (example.image() == picture(0)).all()
    assert example.pair.overlay is not None
    np.savez(example.pair.overlay, rgb=np.full((*SIZE, 3), 300))
    assert (example.image() == 255).all()
    np.savez(example.pair.overlay, rgb=np.zeros((2, 2, 3), int))
    with pytest.raises(EvaluationError, match=r"rgb\.npz: rgb: expected"):
        example.image()


def test_the_list_of_road_anomaly_is_not_trusted(tmp_path: Path) -> None:
    MAKERS["road-anomaly"](tmp_path)
    for content in ("{", '["../../etc/passwd"]', '{"a": 1}', "[1]", "[" * 100_000):
        (tmp_path / "frame_list.json").write_text(content)
        with pytest.raises(EvaluationError, match=r"frame_list\.json: expected"):
            BenchmarkSet(BENCHMARKS["road-anomaly"], tmp_path)


def test_a_picture_is_not_turned_by_what_its_camera_noted(tmp_path: Path) -> None:
    """The label was drawn on the picture as it is stored."""
    example = next(iter(opened("road-anomaly", tmp_path)))
    done, data = cv2.imencode(".jpg", picture()[..., ::-1])
    assert done
    jpeg = data.tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn by 90 degrees
    block = b"Exif\0\0" + tiff
    example.pair.image.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:])
    turned = cv2.imread(str(example.pair.image))
    assert turned is not None
    assert turned.shape[:2] == SIZE[::-1]
    assert example.image().shape[:2] == SIZE
