# SPDX-License-Identifier: Apache-2.0
"""A tagger of colours: its words, its limits, and what becomes of the names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto
from tiny_bundle import GREY, MAGENTA, RED, YELLOW, picture
from tiny_tagger import TAGS, write_tagger

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.engine.tagger import Tagger
from vl_anomaly_ros.errors import BundleError, ConfigError, EngineError
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame, NameSource


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (50, 70)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((*size, 3), colour, np.uint8)


def frame(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Frame:
    return Frame(stamp_ns=5, camera="front", frame_id="optical", image=image, output_frame="base_link")


def pipeline(tiny_bundle: Path, tagger: Path, strategy: str) -> Pipeline:
    values = {
        "engine.bundle": str(tiny_bundle),
        "engine.threads": 1,
        "naming.tagger": str(tagger),
        "naming.strategy": strategy,
    }
    return Pipeline(with_values(Config(), values))


def test_tags_are_the_words_above_their_thresholds_the_best_first(tmp_path: Path) -> None:
    tagger = Tagger(write_tagger(tmp_path / "t"), threads=1)
    assert tagger.words == TAGS
    assert [tagger.tags(plain(colour), 3) for colour in (RED, MAGENTA, YELLOW)] == [[0], [1], [2]]
    both = np.concatenate([plain(MAGENTA), plain(YELLOW)])
    assert tagger.tags(both, 3) in ([1, 2], [2, 1])
    assert len(tagger.tags(both, 1)) == 1
    strict = Tagger(write_tagger(tmp_path / "s", thresholds=[0.5, 1.0, 0.5]), threads=1)
    assert strict.tags(plain(GREY), 3) == tagger.tags(plain(GREY), 3)


def test_logits_become_scores(tmp_path: Path) -> None:
    scores = Tagger(write_tagger(tmp_path / "t", logits=True), threads=1).scores(plain(RED))
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-1.0, 0, 0])), atol=1e-6)


def test_the_image_is_normalised_as_described(tmp_path: Path) -> None:
    """With a mean of pure red nothing is redder."""
    tagger = Tagger(write_tagger(tmp_path / "t", mean=[1.0, 0.0, 0.0]), threads=1)
    assert tagger.scores(plain(RED))[0] == 0


@pytest.mark.parametrize(
    ("strategy", "names"),
    [
        ("dictionary", [("dog", NameSource.DICTIONARY), ("sofa", NameSource.DICTIONARY)]),
        ("tagger", [("fox", NameSource.TAGGER), ("sofa", NameSource.TAGGER)]),
        ("both", [("fox", NameSource.TAGGER), ("sofa", NameSource.TAGGER)]),
    ],
)
def test_names_and_where_they_are_from(
    tmp_path: Path, tiny_bundle: Path, strategy: str, names: list[tuple[str, NameSource]]
) -> None:
    """Dog and fox are both red; of equally good names a tagger's goes first."""
    judged = pipeline(tiny_bundle, write_tagger(tmp_path / "t"), strategy)
    judged.reconfigure(with_values(judged.config, {"naming.min_confidence": 0.1}))
    regions = judged.process(frame(picture())).regions
    assert [(region.label.name, region.label.source) for region in regions] == names
    assert not any(region.label.approved for region in regions)


def test_an_image_without_tags_leaves_regions_without_names(tmp_path: Path, tiny_bundle: Path) -> None:
    result = pipeline(tiny_bundle, write_tagger(tmp_path / "t", logits=True, thresholds=0.9), "tagger").process(
        frame(picture())
    )
    assert [region.label.name for region in result.regions] == ["", ""]


def test_the_tagger_is_not_run_where_there_is_nothing_to_name(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, asked = pipeline(tiny_bundle, write_tagger(tmp_path / "t"), "both"), []
    tags = Tagger.tags

    def counted(tagger: Tagger, image: np.ndarray[Any, np.dtype[np.uint8]], most: int) -> list[int]:
        asked.append(most)
        return tags(tagger, image, most)

    monkeypatch.setattr(Tagger, "tags", counted)
    assert judged.process(frame(plain(GREY))).regions == ()
    assert asked == []
    assert len(judged.process(frame(picture())).regions) == 2
    assert asked == [32]


def test_a_tagger_that_fails_costs_names_not_regions(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judged = pipeline(tiny_bundle, write_tagger(tmp_path / "t"), "tagger")

    def broken(*_: object) -> None:
        raise EngineError("tagger colours: device lost")

    monkeypatch.setattr(Tagger, "tags", broken)
    result = judged.process(frame(picture()))
    assert [region.label.source for region in result.regions] == [NameSource.DICTIONARY] * 2
    assert "names come from the dictionary alone: tagger colours: device lost" in caplog.text


def test_a_strategy_without_a_tagger_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"naming\.strategy: expected dictionary where naming\.tagger names no folder"
    ):
        with_values(Config(), {"naming.strategy": "both"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, r"tagger\.yaml: format: expected 1, got 2"),
        ({"tags": ["fox", "sofa"]}, "expected 2 finite float32 scores, got float32 1x3"),
        ({"tags": ["fox", "Fox", "cone"]}, r"tagger\.yaml: tags: expected each word once"),
        ({"tags": ["fox", "<s>", "cone"]}, r"tagger\.yaml: tag: expected plain text"),
        ({"thresholds": [0.5]}, r"tagger\.yaml: thresholds: expected a number from 0 to 1, or 3 of them"),
        ({"thresholds": 7}, r"tagger\.yaml: thresholds"),
        ({"logits": "no"}, r"tagger\.yaml: logits: expected true or false"),
        ({"sha256": "0" * 64}, r"tagger\.onnx: expected SHA-256 000000000000\.\.\."),
        ({"input": {"width": 1 << 20, "height": 16}}, r"tagger\.yaml: input: width"),
    ],
)
def test_a_wrong_description_is_refused_in_words(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((BundleError, EngineError), match=said):
        Tagger(write_tagger(tmp_path / "t", **changes), threads=1)


def _not_a_graph(content: bytes) -> bytes:
    return b"\x80\x04" + content


def _outside_weights(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "said"),
    [(_not_a_graph, "expected an ONNX graph, got a Python pickle"), (_outside_weights, "external data")],
)
def test_what_is_no_plain_graph_is_never_loaded(tmp_path: Path, change: Callable[[bytes], bytes], said: str) -> None:
    folder = write_tagger(tmp_path / "t")
    content = change((folder / "tagger.onnx").read_bytes())
    (folder / "tagger.onnx").write_bytes(content)
    values = yaml.safe_load((folder / "tagger.yaml").read_text())
    (folder / "tagger.yaml").write_text(yaml.safe_dump({**values, "sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(BundleError, match=said):
        Tagger(folder, threads=1)
