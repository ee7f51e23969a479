# SPDX-License-Identifier: Apache-2.0
"""The result folder: whole or not there, and never over other people's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.output import ResultFolder, check_folder
from vl_anomaly_ros.replay.records import FrameRecord

PICTURE = np.zeros((8, 8, 3), np.uint8)


def fill(path: Path, stamps: list[int], *, stop: bool = False) -> None:
    with ResultFolder(path, ["camera"], Config()) as folder:
        for stamp in stamps:
            folder.add(FrameRecord(stamp, "camera", ok=True), stamp, {}, PICTURE)
        if stop:
            raise ReplayError("the recording holds no such output")
        folder.finish({"frames_in": len(stamps)}, {"report.html": "<p>"})


def stamps_in(path: Path) -> list[int]:
    return [json.loads(line)["stamp_ns"] for line in (path / "frames.jsonl").read_text().splitlines()]


def test_frames_are_sorted_and_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    fill(tmp_path / "out", [3, 1, 2])
    assert stamps_in(tmp_path / "out") == [1, 2, 3]
    fill(tmp_path / "out", [7])
    assert stamps_in(tmp_path / "out") == [7]
    assert [p.name for p in (tmp_path / "out" / "overlay").iterdir()] == ["camera_0000000000000000007.jpg"]
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_a_stopped_run_leaves_the_earlier_result_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", [1, 2])
    with pytest.raises(ReplayError, match="holds no such output"):
        fill(tmp_path / "out", [9], stop=True)
    assert stamps_in(tmp_path / "out") == [1, 2]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == {"frames_in": 2}


def test_a_killed_run_leaves_no_summary_and_can_be_repeated(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "out", ["camera"], Config()).__enter__()
    folder.add(FrameRecord(9, "camera", ok=True), 9, {}, PICTURE)  # and nothing more: the process is gone
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".unfinished"]
    fill(tmp_path / "out", [1])
    assert stamps_in(tmp_path / "out") == [1]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ReplayError, match=r"holds other files \(thesis.tex\)"):
        check_folder(tmp_path)
    with pytest.raises(ReplayError, match="this is a file"):
        check_folder(tmp_path / "thesis.tex")
    check_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplayError, match="cannot be written"):
        fill(tmp_path / "file" / "out", [1])
