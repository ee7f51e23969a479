# SPDX-License-Identifier: Apache-2.0
"""Score maps on disk: what is read, what is refused by name, and the figures over a folder of them."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.map_figures import judge_maps
from vl_anomaly_ros.evaluation.score_maps import MAX_PIXELS, ScoreFolder, read_map, write_map

SCORE = np.linspace(0, 1, 12).reshape(3, 4)
LABEL = np.array([[0, 0, 0, 255], [0, 0, 0, 0], [1, 1, 1, 255]], np.uint8)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_written_is_read(dtype: str, order: Any, save: Any, tmp_path: Path) -> None:
    score = np.asarray(SCORE, dtype, order=order)
    save(tmp_path / "a.npz", score=score, label=np.asarray(LABEL, order=order), extra=np.zeros(3))
    found = read_map(tmp_path / "a.npz")
    assert found.name == "a"
    assert (found.score == score).all()
    assert found.score.dtype == np.dtype(dtype).newbyteorder("=")
    assert (found.label == LABEL).all()


def test_write_map_keeps_every_bit(tmp_path: Path) -> None:
    write_map(tmp_path / "a.npz", SCORE, LABEL)
    assert read_map(tmp_path / "a.npz").score.tobytes() == SCORE.tobytes()


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"score": SCORE}, "label is absent"),
        ({"label": LABEL}, "score is absent"),
        ({"score": SCORE.astype(int), "label": LABEL}, "score: expected"),
        ({"score": SCORE[None], "label": LABEL[None]}, "score: expected"),
        ({"score": np.zeros((0, 4)), "label": np.zeros((0, 4), np.uint8)}, "score: expected"),
        ({"score": SCORE.astype(np.longdouble), "label": LABEL}, "up to 64 bits"),
        ({"score": SCORE.astype(complex), "label": LABEL}, "plain numbers"),
        ({"score": SCORE, "label": LABEL.astype(int)}, "label: expected"),
        ({"score": SCORE, "label": LABEL[:2]}, "label: expected"),
        ({"score": SCORE, "label": LABEL + np.uint8(1)}, "got 2"),
        ({"score": np.array([[{}]], object), "label": np.zeros((1, 1), np.uint8)}, "plain numbers"),
    ],
)
def test_other_arrays_are_refused_by_the_name_of_the_file(
    arrays: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(EvaluationError, match=rf"odd\.npz: .*{complaint}"):
        read_map(tmp_path / "odd.npz")


def archive(path: Path, score: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("score.npy", score)
        file.writestr("label.npy", npy(LABEL))
    return path


def npy(array: np.ndarray, header: str | None = None) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    content = made.getvalue()
    if header is None:
        return content
    text = header.encode().ljust(117) + b"\n"
    return content[:8] + len(text).to_bytes(2, "little") + text


HUGE = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({MAX_PIXELS}, 2)}}"


@pytest.mark.parametrize(
    ("score", "complaint"),
    [
        (npy(SCORE)[:-8], "cut short"),
        (npy(SCORE, HUGE), "at most"),
        (npy(SCORE, "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -4)}"), "at most"),
        (npy(SCORE, "{'descr': '<f8', 'fortran_order': False, 'shape': (3000, 4)}"), "cut short"),
        (npy(SCORE, "{'descr': 'nonsense', 'fortran_order': False, 'shape': (3, 4)}"), "NumPy"),
        (npy(SCORE, "__import__('os').abort()"), "NumPy"),
        (npy(SCORE, "[" * 100), "NumPy"),
        (b"\x93NUMPY\x09\x00" + npy(SCORE)[8:], "version|NumPy"),
        (pickle.dumps(SCORE), "NumPy"),
        (b"", "NumPy"),
    ],
)
def test_hostile_arrays_are_refused(score: bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=rf"odd\.npz: .*({complaint})"):
        read_map(archive(tmp_path / "odd.npz", score))


def test_other_files_are_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.npz", npy(SCORE)).read_bytes()
    for content in (b"", b"no archive", pickle.dumps([1]), whole[: len(whole) // 2], whole[:-30]):
        (tmp_path / "odd.npz").write_bytes(content)
        with pytest.raises(EvaluationError, match=r"odd\.npz: expected an \.npz archive"):
            read_map(tmp_path / "odd.npz")
    flipped = bytearray(whole)
    flipped[60:90] = bytes(30)
    (tmp_path / "odd.npz").write_bytes(flipped)
    with pytest.raises(EvaluationError, match=r"odd\.npz"):
        read_map(tmp_path / "odd.npz")
    with pytest.raises(EvaluationError, match="regular file"):
        read_map(tmp_path)


def test_a_folder_is_read_in_order_and_must_hold_maps(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_map(tmp_path / f"{name}.npz", SCORE, LABEL)
    (tmp_path / "notes.txt").write_text("ignored")
    folder = ScoreFolder(tmp_path)
    assert [item.name for item in folder] == [item.name for item in folder] == ["a", "b"]
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "absent", tmp_path / "a.npz"):
        with pytest.raises(EvaluationError, match="expected a folder with score maps"):
            ScoreFolder(wrong)


def test_figures_of_a_folder(tmp_path: Path) -> None:
    """A square of 20 x 30 px that is found with a rim of 10 columns, beside a false one of 5 x 10 px."""
    score = np.full((60, 80), 0.1)
    score[10:30, 10:50] = 0.8
    score[50:55, 60:70] = 0.8
    label = np.zeros((60, 80), np.uint8)
    label[10:30, 20:50] = 1
    write_map(tmp_path / "a.npz", score, label)
    found = judge_maps(ScoreFolder(tmp_path)).plain()
    # At 0.8: TP 600, FP 200 + 50, FN 0: F1 = 1200 / 1450, precision 600 / 850, FPR = 250 / 4200.
    assert found["f1_max"] == pytest.approx(1200 / 1450)
    assert found["threshold"] == found["f1_threshold"] == 0.8
    assert found["auprc"] == pytest.approx(600 / 850)
    assert found["fpr95"] == pytest.approx(250 / 4200)
    # AnomalyTrack: the false one is too small. sIoU = PPV = 600 / 800: true and right at every threshold.
    track = found["tracks"]["AnomalyTrack"]
    assert (track["siou_gt"], track["ppv"], track["f1_mean"]) == (0.75, 0.75, 1.0)
    # ObstacleTrack: it counts. PPV = (3/4 + 0) / 2; F1 = 2 / (2 + 0 + 1) at every threshold.
    track = found["tracks"]["ObstacleTrack"]
    assert (track["siou_gt"], track["ppv"]) == (0.75, 0.375)
    assert track["f1_mean"] == pytest.approx(2 / 3)
    assert found["reasons"] == {}


def test_what_is_undefined_is_null_with_a_reason(tmp_path: Path) -> None:
    write_map(tmp_path / "a.npz", np.full((4, 4), 0.5), np.zeros((4, 4), np.uint8))
    found = judge_maps(ScoreFolder(tmp_path)).plain()
    assert [found[key] for key in ("auprc", "auroc", "fpr95", "f1_max", "threshold")] == [None] * 5
    assert "no anomalous pixel among 16" in found["reasons"]["auprc"]
    assert found["tracks"]["AnomalyTrack"] == {"siou_gt": None, "ppv": None, "f1_mean": None}
    assert "no threshold" in found["reasons"]["ObstacleTrack.ppv"]
    given = judge_maps(ScoreFolder(tmp_path), threshold=0.5).plain()
    assert given["auprc"] is None
    assert given["tracks"]["ObstacleTrack"]["predicted_components"] == 0  # 16 pixels are too few
    assert "large enough" in given["reasons"]["ObstacleTrack.f1_mean"]
    write_map(tmp_path / "a.npz", np.full((4, 4), 0.5), np.full((4, 4), 255, np.uint8))
    assert "no anomalous pixel among 0" in judge_maps(ScoreFolder(tmp_path)).plain()["reasons"]["fpr95"]


def test_a_score_that_is_none_names_its_file(tmp_path: Path) -> None:
    write_map(tmp_path / "a.npz", SCORE, LABEL)
    write_map(tmp_path / "b.npz", np.where(LABEL == 1, np.nan, SCORE), LABEL)
    with pytest.raises(EvaluationError, match=r"^b: metrics: .*NaN"):
        judge_maps(ScoreFolder(tmp_path))
    write_map(tmp_path / "b.npz", np.where(LABEL == 255, np.nan, SCORE), LABEL)
    assert judge_maps(ScoreFolder(tmp_path)).images == 2
