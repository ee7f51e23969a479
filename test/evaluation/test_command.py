# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly eval` from end to end: every published layout, saved maps, the same figures both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from benchmark_maker import DOG, MAKERS, labels, picture, write
from small_training import make_images
from tiny_bundle import VOCABULARY
from tiny_tagger import write_tagger

from vl_anomaly_ros import cli
from vl_anomaly_ros.config import EngineConfig, MethodConfig
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.evaluation.benchmarks import BENCHMARKS, BenchmarkSet
from vl_anomaly_ros.evaluation.image_set import ImageSet
from vl_anomaly_ros.evaluation.score_maps import read_map
from vl_anomaly_ros.perception.upsampling import upsampled

Captured = pytest.CaptureFixture[str]
PIXEL_KEYS = ("auprc", "auroc", "fpr95", "f1_max")
TRACK_KEYS = {"siou_gt", "ppv", "f1_mean"}


def figures(capsys: Captured, *words: str | Path) -> dict[str, Any]:
    assert cli.main(["eval", "--json", *map(str, words)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def refusal(capsys: Captured, *words: str | Path) -> str:
    assert cli.main(["eval", *map(str, words)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("ERROR: ")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark(name: str, tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    root, maps = tmp_path / "root", tmp_path / "maps"
    MAKERS[name](root)
    words = ("--dataset", name, "--root", root, "--bundle", tiny_bundle, "--threads", "1")
    found = figures(capsys, *words, "--save-scores", maps, "--out", tmp_path / "out")
    assert found["images"] == len(list(maps.glob("*.npz")))
    assert found["ece"] is not None
    assert json.loads((tmp_path / "out" / "figures.json").read_text()) == found
    assert (tmp_path / "out" / "figures.txt").read_text().startswith(f"tiny, vl_anomaly, on {found['images']} pictures")
    if name == "cityscapes":
        assert [found[key] for key in PIXEL_KEYS] == [None] * 4
        assert "no anomalous pixel" in found["reasons"]["auprc"]
        assert found["known_miou"] == pytest.approx(1.0, abs=0.15)  # road and sky; the made-up bundle sees no car
        assert "car" in found["unmatched_classes"]
        return
    assert found["auroc"] > 0.95  # the dog is red, which the tiny bundle takes for no known class
    assert set(found["tracks"]) == {"AnomalyTrack", "ObstacleTrack"}
    assert all(set(track) >= TRACK_KEYS for track in found["tracks"].values())
    assert found["tracks"]["ObstacleTrack"]["siou_gt"] > 0.5
    assert found["open_world_miou"] > 0.5
    assert found["reasons"].keys() <= {"known_miou", "naming"} | {f"AnomalyTrack.{key}" for key in TRACK_KEYS}
    again = figures(capsys, "--scores", maps)
    assert {key: again[key] for key in (*PIXEL_KEYS, "threshold", "tracks")} == {
        key: found[key] for key in (*PIXEL_KEYS, "threshold", "tracks")
    }


def test_a_map_is_what_the_live_engine_says_at_the_size_of_the_label(
    tiny_bundle: Path, tmp_path: Path, capsys: Captured
) -> None:
    """Three sizes, none of them the network's; one picture is half the size of its label."""
    for name, factor in (("validation0", 1), ("validation1", 2), ("validation2", 3)):
        whole = picture().repeat(factor, 0).repeat(factor, 1)[: 48 * factor - factor, : 80 * factor]
        label = labels(0, 0, 1, 255).repeat(factor, 0).repeat(factor, 1)[: 48 * factor - factor]
        write(tmp_path / "images" / f"{name}.png", whole[:: 2 if factor == 2 else 1, :: 2 if factor == 2 else 1])
        write(tmp_path / "labels_masks" / f"{name}_labels_semantic.png", label)
    words = ("--dataset", "road-anomaly-21", "--root", tmp_path, "--bundle", tiny_bundle, "--threads", "1")
    found = figures(capsys, *words, "--save-scores", tmp_path / "maps", "--sources", "--method", "clipomaly")
    assert found["method"]["name"] == "clipomaly"
    assert set(found["sources"]) == {"detector", "text", "clip"}
    engine = Engine.from_config(EngineConfig(bundle=str(tiny_bundle), threads=1))
    terms = terms_of(MethodConfig(name="clipomaly"), engine.bundle.calibration)
    for name in ("validation0", "validation1", "validation2"):
        saved = read_map(tmp_path / "maps" / f"{name}.npz")
        height, width = saved.label.shape
        example = next(e for e in BenchmarkSet(BENCHMARKS["road-anomaly-21"], tmp_path) if e.name == name)
        live = engine.run(example.image(), terms).score
        assert (saved.score == upsampled(live, width, height)).all()
    engine.close()


def test_a_picture_and_a_label_of_other_shapes_are_refused(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    MAKERS["road-anomaly-21"](tmp_path)
    write(tmp_path / "images" / "validation0001.jpg", picture()[:30])
    message = refusal(capsys, "--dataset", "road-anomaly-21", "--root", tmp_path, "--bundle", tiny_bundle)
    assert "validation0001: expected a picture and a label of one shape, got 80x30 and 80x48" in message


def test_names_and_vocabulary(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    """BDD-Anomaly names its anomalies; with its word in the dictionary the red thing is called a bicycle."""
    MAKERS["bdd-anomaly"](tmp_path)
    words = ("--dataset", "bdd-anomaly", "--root", tmp_path, "--bundle", tiny_bundle, "--threads", "1")
    assert figures(capsys, *words)["naming"] == {"exact": 0.0, "synonym": 0.0, "regions": 2}
    file = tmp_path / "words.yaml"
    file.write_text(yaml.safe_dump({**VOCABULARY, "name": "own", "known": [{"name": "road"}, {"name": "sky"}]}))
    found = figures(capsys, *words, "--vocabulary", file)
    assert found["vocabulary"] == "own"
    assert found["candidates"] == len(VOCABULARY["candidates"])
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({"known": [{"name": "x"}], "candidates": ["road", "sofa", "bicycle", "canoe"]}))
    wide = figures(capsys, *words, "--vocabulary", file, "--dictionary", more)
    assert wide["candidates"] == len({*VOCABULARY["candidates"], "sofa", "bicycle", "canoe"})  # a road is known
    assert wide["auprc"] == found["auprc"]
    assert found["known_miou"] > 0.8


def test_hard_normal_pixels_and_ablations(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    """Each row is the score that its settings give; what is marked as hard is counted apart."""
    root = make_images(tmp_path / "set", 3, seed=1, anomalies=True)
    (root / "hard").mkdir()
    for path in (root / "semantic").iterdir():
        hard = np.zeros_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        hard[50:, :40] = 3
        cv2.imwrite(str(root / "hard" / path.name), hard)
    words = ("--dataset", "simulated", "--root", root, "--bundle", tiny_bundle, "--threads", "1")
    whole = figures(capsys, *words)
    found = figures(capsys, *words, "--ablations")
    rows = {row["name"]: row for row in found["ablations"]}
    assert found["images"] == 3
    learned, detector = rows["all three, learned weights"], rows["detector only"]
    assert {key: learned["pixel"][key] for key in PIXEL_KEYS} == {key: whole[key] for key in PIXEL_KEYS}
    assert learned["hard_normal"] == whole["hard_normal"]["fused"]
    assert detector["pixel"] == whole["sources"]["detector"]
    assert detector["hard_normal"] == whole["hard_normal"]["detector"]
    assert list(whole["retention"].values()) == learned["pixel"]["retained"]
    normal = np.stack([item.label == 0 for item in ImageSet(root)])
    marked = np.stack([item.hard for item in ImageSet(root) if item.hard is not None])
    anomalous = np.stack([item.label == 1 for item in ImageSet(root)]).sum()
    assert learned["hard_normal"]["pixels"] == (normal & marked).sum() + anomalous
    clipomaly = figures(capsys, *words, "--method", "clipomaly")
    assert rows["Clipomaly"]["pixel"]["auprc"] == clipomaly["auprc"]


def test_simulated_images(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    make_images(tmp_path / "set", 3, seed=1, anomalies=True)
    found = figures(capsys, "--dataset", "simulated", "--root", tmp_path / "set", "--bundle", tiny_bundle)
    assert found["images"] == 3
    assert set(found["sources"]) == {"detector", "text", "clip"}
    assert found["naming"]["regions"] == 3  # a dog each
    assert found["unmatched_classes"] == ["car"]
    assert found["known_miou"] is not None


def test_a_given_threshold_is_used(tmp_path: Path, capsys: Captured) -> None:
    score, label = np.zeros((40, 60)), np.zeros((40, 60), np.uint8)
    score[DOG], label[DOG] = 0.7, 1
    score[30:40, 0:20] = 0.4
    np.savez(tmp_path / "a.npz", score=score, label=label)
    assert figures(capsys, "--scores", tmp_path)["tracks"]["ObstacleTrack"]["predicted_components"] == 1
    found = figures(capsys, "--scores", tmp_path, "--threshold", "0.4", "--out", tmp_path / "out")
    assert found["threshold"] == 0.4
    assert found["tracks"]["ObstacleTrack"]["predicted_components"] == 2
    assert found["tracks"]["ObstacleTrack"]["ppv"] == 0.5
    assert "ObstacleTrack" in (tmp_path / "out" / "figures.txt").read_text()
    assert cli.main(["eval", "--scores", str(tmp_path)]) == 0
    assert "AuPRC 1.0000" in capsys.readouterr().out


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, capsys: Captured) -> None:
    assert "expected RoadAnomaly as published" in refusal(capsys, "--dataset", "road-anomaly", "--root", tmp_path)
    assert "--root" in refusal(capsys, "--dataset", "road-anomaly")
    assert "score maps" in refusal(capsys, "--scores", tmp_path)
    (tmp_path / "odd.npz").write_bytes(b"no archive")
    assert "odd.npz" in refusal(capsys, "--scores", tmp_path)
    for wrong in ([], ["--dataset", "cityscapes", "--scores", "x"], ["--dataset", "imagenet"]):
        assert cli.main(["eval", *wrong]) == 2
        capsys.readouterr()


def test_help_has_examples(capsys: Captured) -> None:
    assert cli.main(["eval", "--help"]) == 0
    text = capsys.readouterr().out
    assert "  vl-anomaly eval --scores" in text
    assert all(name in text for name in BENCHMARKS)


def test_names_can_come_from_a_tagger(tiny_bundle: Path, tmp_path: Path, capsys: Captured) -> None:
    """It knows the word bicycle, which one thing in two is; the dictionary, without it, calls both a dog."""
    MAKERS["bdd-anomaly"](tmp_path)
    tagger = write_tagger(tmp_path / "tagger", tags=["bicycle", "sofa", "cone"])
    words = ("--dataset", "bdd-anomaly", "--root", tmp_path, "--bundle", tiny_bundle, "--threads", "1")
    tagged = (f"naming.tagger={tagger}", "naming.strategy=tagger")
    found = figures(capsys, *words, *(word for value in tagged for word in ("--set", value)))
    assert found["naming"] == {"exact": 0.5, "synonym": 0.5, "regions": 2}
    assert figures(capsys, *words)["naming"]["exact"] == 0.0
