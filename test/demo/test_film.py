# SPDX-License-Identifier: Apache-2.0
"""Contact sheet, film and view from above of a finished replay."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_maker import drive_bag

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.demo import command, film
from vl_anomaly_ros.replay.birdseye import TrueObject
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.replay.runner import Replayed, ReplayJob, replay

Done = tuple[Path, Replayed]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Done:
    folder = tmp_path_factory.mktemp("film")
    config = with_values(Config(), {"engine.bundle": str(tiny_bundle)})
    return folder / "out", replay(ReplayJob(drive_bag(folder / "bag"), folder / "out", config))


def test_contact_sheet_shows_every_frame_with_an_anomaly(done: Done) -> None:
    out, replayed = done
    sheet = cv2.imread(str(film.contact_sheet(out, replayed.records, columns=2)))
    assert sheet is not None
    assert sheet.shape[1] == 2 * 486
    red = (sheet[..., 2] > 150) & (sheet[..., 1] < 90)
    quarters = [part for half in np.array_split(red, 2) for part in np.array_split(half, 2, axis=1)]
    assert [part.sum() > 500 for part in quarters] == [True, True, True, False]  # three frames in two columns


def test_film_plays_and_holds_every_frame(done: Done) -> None:
    out, replayed = done
    path = film.film(out, replayed.records, {}, fps=5.0)
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = video.read()
        if not there:
            break
        frames.append(frame)
    assert len(frames) == 3
    assert frames[0].shape[0] == 160
    assert frames[0].shape[1] > 320  # the picture and the view from above
    assert frames[0][92, 160, 2] > frames[0][92, 160, 1] + 60  # the red thing


def test_truth_stands_beside_the_zones(done: Done) -> None:
    out, replayed = done
    truth = {r.stamp_ns: [TrueObject(1, "dog", (10.7, 0, 0.7), (1.5, 2.0, 1.5), 0.0, True)] for r in replayed.records}
    with_truth = cv2.imread(str(film.truth_sheet(out, replayed.records, truth)))
    without = cv2.imread(str(film.truth_sheet(out, replayed.records, {})))
    assert with_truth is not None
    green = (np.abs(with_truth.astype(int) - (120, 200, 70)).max(axis=2) < 20)[40:]
    assert green.sum() > 3 * 30
    assert without is not None
    assert not (np.abs(without.astype(int) - (120, 200, 70)).max(axis=2) < 20)[40:].any()


def test_lines_for_people() -> None:
    failed = FrameRecord(1, "camera", ok=False, reason="the engine gave NaN")
    assert command.line_of(failed, 1.0, 2, 9).endswith("UNKNOWN: the engine gave NaN")
    assert "nothing anomalous" in command.line_of(FrameRecord(1, "camera", ok=True, total_ms=3.0), 1.0, 2, 9)


def test_at_most_one_line_a_second_but_every_failure(capsys: pytest.CaptureFixture[str]) -> None:
    line = command.live_line()
    for i in range(1, 6):
        line(FrameRecord(i, "camera", ok=i != 3, reason="why", total_ms=1.0), i, 6)
    said = capsys.readouterr().out.splitlines()
    assert [s.split("frame")[1].split("/")[0].strip() for s in said] == ["1", "3"]
