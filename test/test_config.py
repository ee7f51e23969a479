# SPDX-License-Identifier: Apache-2.0
"""Settings: defaults within their ranges, and bad values refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from vl_anomaly_ros.config import Config, RegionConfig, described, from_mapping, to_mapping, with_values
from vl_anomaly_ros.errors import ConfigError


def test_every_setting_says_what_it_means() -> None:
    settings = list(described(Config()))
    assert len({item.name for item in settings}) == len(settings) > 20
    for item in settings:
        assert item.meaning.description, item.name
        suffix = {"_px": "px", "_m": "m", "_s": "s"}
        for ending, unit in suffix.items():
            if item.name.endswith(ending):
                assert item.meaning.unit == unit, item.name


def test_round_trip_through_yaml() -> None:
    config = with_values(
        Config(), {"regions.threshold": 0.6, "method.source_weights": [1, 0, 2], "frames.fixed_frame": ""}
    )
    text = yaml.safe_dump(to_mapping(config))
    assert from_mapping(yaml.safe_load(text)) == config
    assert from_mapping({}) == Config()


def test_other_settings_stay() -> None:
    config = with_values(Config(), {"regions.min_area_px": 5})
    assert config.regions.min_area_px == 5
    assert with_values(config, {"regions.min_area_px": Config().regions.min_area_px}) == Config()


def test_whole_numbers_pass_for_real_ones_and_lists_for_tuples() -> None:
    config = with_values(Config(), {"regions.threshold": 1, "method.source_weights": [1, 0.5, 0]})
    assert isinstance(config.regions.threshold, float)
    assert config.method.source_weights == (1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"regions.threshold": 1.01}, "regions.threshold: expected -1.0 to 1.0"),
        ({"regions.threshold": float("nan")}, "regions.threshold"),
        ({"regions.threshold": 10**400}, "regions.threshold: expected a float, got an int of 1329 bits"),
        ({"engine.bundle": "a\nb"}, r"engine.bundle: expected up to 1024 printable characters, got 'a\nb'"),
        ({"a\x1b[2J": 1}, r"a\x1b[2J: no such setting"),
        ({"engine.bundle": "\x1b[2J"}, "engine.bundle: expected up to 1024 printable"),
        ({"engine.bundle": "x" * 1025}, "engine.bundle: expected up to 1024 printable"),
        ({"node.cameras": ["x" * 2000]}, "node.cameras: expected up to 1024 printable"),
        ({"node.cameras": [f"c{i}" for i in range(65)]}, "node.cameras: expected at most 64 values, got 65"),
        ({"node.cameras": ["../x"]}, "node.cameras: expected different names"),
        ({"regions.threshold": "high"}, "regions.threshold: expected float, got str"),
        ({"regions.threshold": True}, "regions.threshold: expected float, got bool"),
        ({"regions.min_area_px": 0}, "regions.min_area_px"),
        ({"regions.min_area_px": 1.5}, "regions.min_area_px: expected int, got float"),
        ({"regions.min_area_px": True}, "regions.min_area_px: expected int, got bool"),
        ({"method.source_weights": [1, 1]}, "method.source_weights: expected 3 numbers"),
        ({"method.source_weights": [0, 0, 0]}, "method.source_weights: expected a positive sum"),
        ({"method.source_weights": [1, -1, 1]}, "method.source_weights"),
        ({"method.source_weights": "111"}, "method.source_weights: expected a list"),
        ({"method.source_weights": ["a", "b", "c"]}, "method.source_weights: expected float"),
        ({"engine.backend": "magic"}, "engine.backend: expected one of auto"),
        ({"node.image_transport": None}, "node.image_transport"),
        ({"fusion.enabled": 1}, "fusion.enabled: expected bool"),
        ({"fusion.max_range_m": float("inf")}, "fusion.max_range_m"),
        ({"threshold": 0.5}, "did you mean regions.threshold?"),
        ({"region.threshold": 0.5}, "did you mean regions.threshold?"),
        ({"regions.no_such": 0.5}, "regions.no_such: no such setting"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_values(Config(), values)
    assert said in str(caught.value)


@pytest.mark.parametrize("nested", [{"regions": 5}, {"regions": None}, {"regions": {"no": 1}}, {"no": {"x": 1}}])
def test_bad_files_are_refused(nested: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        from_mapping(nested)


def test_a_config_made_directly_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"regions\.max_regions"):
        Config(regions=RegionConfig(max_regions=0))
