# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one clear sentence, and no surprises for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from bag_maker import drive_bag

from vl_anomaly_ros import cli
from vl_anomaly_ros.config import Config
from vl_anomaly_ros.console import Progress
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.options import config_from, read_settings

Captured = pytest.CaptureFixture[str]


def test_help_lists_only_what_exists(capsys: Captured) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    listing = text.split("commands:")[1].split("examples:")[0]
    listed = [line.split()[0] for line in listing.splitlines() if line.strip()]
    assert {"replay", "demo", "doctor", "vocabulary"} <= set(listed)
    for name in listed:
        assert (Path(cli.__file__).parents[1] / (cli.COMMANDS[name].module.replace(".", "/") + ".py")).exists()


def test_help_is_quick() -> None:
    """Nothing heavy is loaded to say how the command is used."""
    code = (
        "import sys; from vl_anomaly_ros.cli import main; main(['--help']); "
        "print([m for m in ('numpy', 'cv2', 'onnxruntime', 'rosbags', 'torch', 'rclpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["replay"], ["replay", "bag"], ["replay", "b", "--out", "o", "--frames", "0"]]
)
def test_wrong_usage_is_2(words: list[str], capsys: Captured) -> None:
    assert cli.main(words) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["replay", "demo", "vocabulary", "doctor"])
def test_each_command_has_help_with_examples(name: str, capsys: Captured) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"  vl-anomaly {name}" in capsys.readouterr().out


def test_refusals_are_1_and_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert cli.main(["replay", str(tmp_path / "nope"), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ERROR: ")
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 1)])
def test_interruptions(error: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    def stop(words: list[str]) -> int:
        del words
        raise error

    monkeypatch.setattr(cli, "_main", stop)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert cli.main([]) == code
    assert "Traceback" not in capfd.readouterr().err


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def absent(name: str) -> SimpleNamespace:
        raise ModuleNotFoundError(f"No module named 'torch' for {name}", name="torch")

    monkeypatch.setattr("importlib.import_module", absent)
    monkeypatch.setattr(cli, "_exists", lambda _: True)
    assert cli.main(["train"]) == 1
    assert "needs torch, which is not installed; pip install 'vl-anomaly-ros[training]'" in capsys.readouterr().err


def test_replay_for_people_and_for_scripts(tmp_path: Path, tiny_bundle: Path, capsys: Captured) -> None:
    bag = drive_bag(tmp_path / "bag")
    words = ["replay", str(bag), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle), "--frames", "2"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert "frames:  2 in, 2 judged, 0 failed, 0 dropped" in captured.out
    assert "report.html" in captured.out
    assert "frames: 2 of 2" in captured.err
    assert cli.main([*words, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["frames_out"] == 2
    assert captured.err == ""
    assert cli.main([*words, "--camera", "rear"]) == 1
    assert "there are: camera" in capsys.readouterr().err


def test_topics_and_frames_by_flag(tmp_path: Path, tiny_bundle: Path) -> None:
    bag = drive_bag(tmp_path / "bag", cameras=("left", "right"))
    out = tmp_path / "out"
    words = ["replay", str(bag), "--out", str(out), "--bundle", str(tiny_bundle), "--image-topic", "/right/image_raw"]
    assert cli.main([*words, "--info-topic", "/left/camera_info", "--output-frame", "lidar"]) == 0
    settings = yaml.safe_load((out / "config.yaml").read_text())
    assert (settings["frames"]["output_frame"], settings["frames"]["ego_frame"]) == ("lidar", "lidar")
    frames = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert {f["camera"] for f in frames} == {"right"}
    assert {z["frame_id"] for f in frames for z in f["zones"]} == {"lidar"}


def test_a_failed_frame_makes_the_exit_code_1(tmp_path: Path, tiny_bundle: Path, capsys: Captured) -> None:
    from bag_maker import SECOND_NS, BagMaker, road_picture

    with BagMaker(tmp_path / "bag") as bag:
        bag.info(SECOND_NS)
        bag.image(SECOND_NS, road_picture(), encoding="magic")
    words = ["replay", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert cli.main(words) == 1
    assert "UNKNOWN: image: expected one of the encodings" in capsys.readouterr().err


def test_settings_from_file_and_flag(tmp_path: Path) -> None:
    nested, ros = tmp_path / "nested.yaml", tmp_path / "ros.yaml"
    nested.write_text("regions: {threshold: 0.4, min_area_px: 9}\n")
    ros.write_text("/**:\n  ros__parameters:\n    regions.threshold: 0.3\n    fusion: {min_points: 4}\n")
    assert read_settings(ros) == {"regions.threshold": 0.3, "fusion.min_points": 4}
    flags = ["regions.threshold=0.7", "method.source_weights=[1, 0, 0.5]"]
    args = SimpleNamespace(config=nested, set=flags, bundle="b", method=None)
    config = config_from(args)  # type: ignore[arg-type]
    assert (config.regions.threshold, config.regions.min_area_px, config.engine.bundle) == (0.7, 9, "b")
    assert config.method.source_weights == (1.0, 0.0, 0.5)
    plain = SimpleNamespace(config=None, set=[], bundle=None, method=None)
    assert config_from(plain) == Config()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("regions.threshold", "NAME=VALUE"),
        ("regions.treshold=1", "no such setting"),
        ("regions.threshold=7", "expected"),
        ("regions.threshold={", "expected YAML"),
    ],
)
def test_settings_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_from(SimpleNamespace(config=None, set=[text], bundle=None, method=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, "[1, 2]", "a: [", "regions: 5"])
def test_files_that_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError):
        config_from(SimpleNamespace(config=path, set=[], bundle=None, method=None))  # type: ignore[arg-type]


def test_vocabulary(tmp_path: Path, tiny_bundle: Path, capsys: Captured) -> None:
    assert cli.main(["vocabulary", "--bundle", str(tiny_bundle), "--yaml"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "words.yaml").write_text(text)
    assert cli.main(["vocabulary", str(tmp_path / "words.yaml")]) == 0
    assert "3 known classes in 2 groups" in capsys.readouterr().out
    (tmp_path / "words.yaml").write_text("known: 5\n")
    assert cli.main(["vocabulary", str(tmp_path / "words.yaml")]) == 1
    assert capsys.readouterr().err.startswith("ERROR: ")


def test_doctor_says_what_is_there(capsys: Captured) -> None:
    code = cli.main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    lacks = [f for f in findings if f["needed"] and not f["there"]]
    assert code == (1 if lacks else 0)
    assert all(f["fix"] for f in findings if not f["there"])
    assert next(f for f in findings if f["what"] == "numpy")["there"]
    cli.main(["doctor"])
    assert len(capsys.readouterr().out.splitlines()) == len(findings)


def test_progress_in_a_log_is_a_line_at_the_end(capsys: Captured) -> None:
    with Progress("frames") as progress:
        for i in range(1, 101):
            progress.update(i, 100)
    assert capsys.readouterr().err.splitlines()[-1] == "frames: 100 of 100"
    with Progress("frames", quiet=True) as progress:
        progress.update(100, 100)
    assert capsys.readouterr().err == ""
