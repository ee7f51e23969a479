# SPDX-License-Identifier: Apache-2.0
"""Settings files and `--set`, as somebody may have spoiled them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.options import add_setting_arguments, config_from


def settings(*words: str) -> Config:
    parser = argparse.ArgumentParser()
    add_setting_arguments(parser)
    return config_from(parser.parse_args(words))


@pytest.mark.parametrize(
    "text",
    [
        "regions: {threshold: 0.6, min_area_px: 5}",
        "regions.threshold: 0.6\nregions.min_area_px: 5",
        "/**:\n  ros__parameters:\n    regions: {threshold: 0.6}\n    regions.min_area_px: 5",
    ],
)
def test_the_three_ways_to_write_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    wanted = with_values(Config(), {"regions.threshold": 0.6, "regions.min_area_px": 5})
    assert settings("--config", str(tmp_path / "s.yaml")) == wanted
    assert settings("--set", "regions.threshold=0.6", "--set", "regions.min_area_px=5") == wanted


def test_the_method_has_a_flag_of_its_own() -> None:
    assert settings("--method", "vl4ad") == with_values(Config(), {"method.name": "vl4ad"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [1]\nb: *a", r"s\.yaml: line 1: expected plain values, got an anchor or alias"),
        ("{a: " * 20, "at most 16 levels"),
        ("regions: {threshold: 0.1, threshold: 0.9}", "'threshold' stands twice"),
        ("regions: {min_area_px: " + "9" * 400 + "}", "more than 64 bits"),
        ("regions: {threshold: .nan}", r"regions\.threshold: expected -1\.0 to 1\.0"),
        ("regions: {threshold: .inf}", r"regions\.threshold: expected -1\.0 to 1\.0"),
        ("!!python/object/apply:os.getcwd []", "syntax error"),
        ("[1, 2]", "expected sections with settings, got list"),
        ("\x1b[2J", "syntax error"),
        ('"\\e[2J": 1', "no such setting"),
        ('"\\e[2J": {"\\n": 1}', "no such setting"),
        ('engine: {bundle: "a\\nb"}', r"engine\.bundle: expected up to 1024 printable characters"),
    ],
)
def test_spoiled_files_are_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        settings("--config", str(tmp_path / "s.yaml"))
    assert str(caught.value).isprintable()


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").touch()
    os.truncate(tmp_path / "s.yaml", 1 << 30)
    with pytest.raises(ConfigError, match=r"s\.yaml: expected at most 1048576 bytes, got 1073741824"):
        settings("--config", str(tmp_path / "s.yaml"))


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("regions.threshold", "expected NAME=VALUE"),
        ("regions.threshold={", "--set regions.threshold={: expected YAML"),
        ("regions.threshold=" + "[" * 100, "at most 16 levels"),
        ("regions.threshold=!!python/name:os.system", "syntax error"),
    ],
)
def test_a_spoiled_word_on_the_command_line(item: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings("--set", item)
    assert said in str(caught.value)
