# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly simulate`: options become settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vl_anomaly_ros.simulation.command import add_arguments, drive_settings, run
from vl_anomaly_ros.simulation.drive_settings import DriveSettings, demo_settings


def _parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_drive_defaults_are_those_of_the_settings() -> None:
    assert drive_settings(_parse("drive", "--out", "x")) == DriveSettings(seed=0)


def test_options_override_the_preset() -> None:
    settings = drive_settings(
        _parse("drive", "--out", "x", "--preset", "demo", "--lidar-beams", "64", "--image-size", "640", "320")
    )
    assert settings.lidar_beams == 64
    assert settings.image_size == (640, 320)
    assert settings.seed == demo_settings().seed
    assert settings.look == demo_settings().look


def test_a_form_must_be_named() -> None:
    with pytest.raises(SystemExit) as stop:
        _parse()
    assert stop.value.code == 2


@pytest.mark.usefixtures("gl")
def test_images_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("images", "--out", str(tmp_path / "set"), "--count", "1", "--width", "64", "--height", "32")
    assert run(_parse(*words)) == 0
    assert (tmp_path / "set" / "images" / "000000.png").exists()
    assert "dataset.yaml" in capsys.readouterr().out
