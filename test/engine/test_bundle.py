# SPDX-License-Identifier: Apache-2.0
"""A bundle is used only when every file is there, unaltered, and its values make sense."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import build_tiny_bundle, rehash

from vl_anomaly_ros.engine import bundle as module
from vl_anomaly_ros.engine.bundle import FILES, default_bundle_path, load_bundle
from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.untrusted import read_file


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def edit(path: Path, file: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a YAML file of a bundle, with right hashes."""
    values = yaml.safe_load((path / file).read_text())
    change(values)
    (path / file).write_text(yaml.safe_dump(values, sort_keys=False))
    if file != "bundle.yaml":
        rehash(path)


def _nested(depth: int) -> list[Any]:
    return [] if depth == 0 else [_nested(depth - 1)]


def test_reads_all_values(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert (bundle.name, bundle.version, bundle.input_width, bundle.input_height) == ("tiny", "0.1.0", 64, 32)
    assert bundle.detector_classes == ("road", "vegetation", "sky")
    assert bundle.vocabulary.known_names == ("road", "vegetation", "sky")
    assert bundle.calibration.source_weights == (0.5, 0.25, 0.25)
    assert bundle.calibration.threshold == 0.5


def test_the_builder_writes_the_same_bytes_and_the_hash_says_so(tiny_bundle: Path, tmp_path: Path) -> None:
    again = load_bundle(build_tiny_bundle(tmp_path / "again"))
    assert again.sha256 == load_bundle(tiny_bundle).sha256


def test_the_hash_covers_every_file(copy: Path) -> None:
    hashes = {load_bundle(copy).sha256}
    edit(copy, "calibration.yaml", lambda v: v.update(threshold=0.6))
    hashes.add(load_bundle(copy).sha256)
    edit(copy, "bundle.yaml", lambda v: v.update(mean=[0.4, 0.5, 0.5]))
    hashes.add(load_bundle(copy).sha256)
    assert len(hashes) == 3


@pytest.mark.parametrize("file", [*FILES, "bundle.yaml"])
def test_a_missing_file_is_refused_by_name(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(BundleError, match=file):
        load_bundle(copy)


@pytest.mark.parametrize("file", FILES)
def test_an_altered_file_is_refused_by_name(copy: Path, file: str) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file}: expected SHA-256"):
        load_bundle(copy)


def test_a_file_that_changes_after_loading_is_refused(copy: Path) -> None:
    bundle = load_bundle(copy)
    (copy / "head.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"head\.onnx"):
        bundle.read("head.onnx")


def test_no_way_out_of_the_folder(copy: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(copy / "text.onnx", outside)
    (copy / "text.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out"):
        load_bundle(copy)


def test_a_folder_of_links_into_one_other_folder_is_that_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    """This is how `colcon build --symlink-install` installs the shipped bundle."""
    links = tmp_path / "links"
    links.mkdir()
    for file in [*FILES, "bundle.yaml"]:
        (links / file).symlink_to(tiny_bundle / file)
    bundle = load_bundle(links)
    assert bundle.sha256 == load_bundle(tiny_bundle).sha256
    assert bundle.read("text.onnx") == (tiny_bundle / "text.onnx").read_bytes()
    (links / "text.onnx").unlink()
    (links / "text.onnx").write_bytes(b"not part of it: the bundle is where bundle.yaml really lies")
    assert load_bundle(links).sha256 == bundle.sha256


def test_links_in_a_circle_are_refused(copy: Path) -> None:
    (copy / "head.onnx").unlink()
    (copy / "head.onnx").symlink_to("head.onnx")
    with pytest.raises(BundleError, match=r"head\.onnx: expected a readable file"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("path", "got"),
    [
        ("~/bundle", "nothing there"),
        ("$HOME/bundle", "nothing there"),
        ("bundle.yaml", "a file"),
        ("no/such", "nothing there"),
        ("x" * 5000, "too long|nothing there"),
        ("a\0b", "null byte|nothing there"),
        ("a\x1b[2Jb", "nothing there"),
    ],
)
def test_only_a_folder_is_taken_and_nothing_in_its_name_is_expanded(
    copy: Path, monkeypatch: pytest.MonkeyPatch, path: str, got: str
) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HOME", str(copy.parent))
    shutil.copytree(copy, copy.parent / "bundle")
    with pytest.raises(BundleError, match=f"expected a bundle folder, got .*({got})") as caught:
        load_bundle(path)
    assert str(caught.value).isprintable()
    assert load_bundle("../bundle").name == "tiny"  # the operating system's own way to name a folder


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("visual.onnx", pickle.dumps({"weights": 1}), "expected an ONNX graph, got a Python pickle"),
        ("head.onnx", b"\x7fELF" + bytes(60), "expected an ONNX graph, got a shared library"),
        ("text.onnx", b"PK\x03\x04" + bytes(60), "expected an ONNX graph, got a zip archive"),
    ],
)
def test_code_in_place_of_a_graph_is_refused_by_kind(copy: Path, file: str, content: bytes, said: str) -> None:
    (copy / file).write_bytes(content)
    rehash(copy)
    with pytest.raises(BundleError, match=f"{file}: {said}"):
        load_bundle(copy)


@pytest.mark.parametrize("file", [*FILES, "bundle.yaml"])
def test_a_file_is_measured_before_it_is_read(copy: Path, file: str) -> None:
    os.truncate(copy / file, 1 << 40)  # takes no space on the disk
    with pytest.raises(BundleError, match=rf"{file}: expected at most \d+ bytes, got {1 << 40}"):
        load_bundle(copy)


def test_a_pipe_is_not_waited_for(copy: Path) -> None:
    (copy / "head.onnx").unlink()
    os.mkfifo(copy / "head.onnx")
    with pytest.raises(BundleError, match=r"head\.onnx: expected a regular file"):
        load_bundle(copy)


def test_what_is_hashed_is_what_is_given_on(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read once, then hashed: an exchange right after the reading changes nothing."""
    bundle = load_bundle(copy)
    good = (copy / "head.onnx").read_bytes()

    def read_then_exchange(path: Path, *arguments: Any) -> bytes:
        content = read_file(path, *arguments)
        path.write_bytes(b"something else")
        return content

    monkeypatch.setattr(module, "read_file", read_then_exchange)
    assert bundle.read("head.onnx") == good
    with pytest.raises(BundleError, match=r"head\.onnx: expected SHA-256"):
        bundle.read("head.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(format=2), "expected format 1, got 2"),
        (lambda v: v.pop("name"), "name: expected a text"),
        (lambda v: v["files"].update({"../../etc/passwd": "0" * 64}), "unexpected '../../etc/passwd'"),
        (lambda v: v["files"].pop("text.onnx"), "text.onnx: expected a SHA-256"),
        (lambda v: v["files"].update({"text.onnx": "abc"}), "text.onnx: expected a SHA-256"),
        (lambda v: v.update(files=None), "files"),
        (lambda v: v["input"].update(resize="stretch"), "letterbox"),
        (lambda v: v["input"].update(width=66), "width: expected a multiple of 4"),
        (lambda v: v["input"].update(height="32"), "height"),
        (lambda v: v.update(mean=[0.5, 0.5]), "mean: expected 3 numbers"),
        (lambda v: v.update(std=[0, 1, 1]), "std"),
        (lambda v: v.update(std=[float("nan"), 1, 1]), "std"),
        (lambda v: v.update(embedding_size=0), "embedding_size"),
        (lambda v: v.update(logit_scale=float("inf")), "logit_scale"),
        (lambda v: v.update(detector_classes=[]), "detector_classes"),
        (lambda v: v.update(learned_prompt="<ctx0>"), "learned_prompt: expected exactly one {}"),
        (lambda v: v.update(prompt_templates=["a {} and {x}"]), "prompt_templates"),
        (lambda v: v.update(prompt_templates=["a {}"] * 129), "prompt_templates: expected at most 128"),
        (lambda v: v.update(name="a\nb"), "name: expected a text: one line"),
        (lambda v: v.update(name="\x1b]0;title\x07"), "name: expected a text: one line"),
        (lambda v: v.update(version="v" * 257), "version: expected a text: one line of up to 256"),
        (lambda v: v.update(license=["MIT"]), "license: expected a text"),
        (lambda v: v.update(provenance="by hand\x9b31m"), "provenance: expected a text of up to 8192 printable"),
        (lambda v: v.update(detector_classes=["road", "ro\u202ead"]), "detector_classes: expected a list of texts"),
        (lambda v: v.update(detector_classes=[f"c{i}" for i in range(1025)]), "detector_classes: expected a list"),
        (lambda v: v.update(logit_scale=10**30), "more than 64 bits"),
        (lambda v: v.update(embedding_size=10**9), "embedding_size"),
        (lambda v: v["input"].update(width=4096000), "width: expected a multiple of 4 up to 8192"),
        (lambda v: v.update(figures=[1]), "figures: expected a section"),
        (lambda v: v.update(deep=_nested(20)), "at most 16 levels"),
    ],
)
def test_wrong_descriptions_are_refused_by_key(
    copy: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(copy, "bundle.yaml", change)
    with pytest.raises(BundleError) as caught:
        load_bundle(copy)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(source_weights=[0, 0, 0]), "source_weights"),
        (lambda v: v.update(source_weights=[1, -1, 1]), "source_weights"),
        (lambda v: v.update(source_weights=[1, 1]), "source_weights"),
        (lambda v: v.update(temperatures=[0, 1]), "temperatures"),
        (lambda v: v.update(clip_dense_weight=1.5), "clip_dense_weight"),
        (lambda v: v["probability"].update(probability=[0.1, 0.5, 0.4, 1.0]), "never fall"),
        (lambda v: v["probability"].update(score=[0.0, 0.2, 0.2, 1.0]), "increasing"),
        (lambda v: v["probability"].update(probability=[0.1, 0.5, 0.6, 1.1]), "0..1"),
        (lambda v: v["probability"].update(probability=[0.1, 0.5]), "as many"),
        (lambda v: v["probability"].update(probability=[0.1, 0.5, 0.6, float("nan")]), "a number"),
        (lambda v: v.pop("probability"), "probability"),
        (lambda v: v.update(threshold=0), "threshold"),
        (lambda v: v.update(threshold="high"), "threshold"),
        (lambda v: v.pop("min_name_confidence"), "min_name_confidence"),
        (lambda v: v.update(methods=["vl4ad"]), "methods: expected some of vl4ad, clipomaly"),
        (lambda v: v["methods"].update(rba={}), "methods: expected some of vl4ad, clipomaly"),
        (lambda v: v["methods"]["vl4ad"].update(threshold=0), "threshold: expected above 0 and up to 1, got 0.0"),
        (lambda v: v["methods"]["vl4ad"].update(threshold=0), "(under methods: vl4ad)"),
        (lambda v: v.update(threshold=float("inf")), "threshold: expected a number"),
        (lambda v: v.update(temperatures=[float("nan"), 1]), "temperatures: expected a number"),
        (lambda v: v.update(threshold=10**400), "more than 64 bits"),
        (lambda v: v.update(measured_on="x\x1b[2J"), "measured_on: expected up to 8192 printable"),
        (lambda v: v.update(measured_on={"a": 1}), "measured_on"),
        (
            lambda v: v.update(probability={"score": list(range(5000)), "probability": [0.5] * 5000}),
            "2 to 4096, got (5000, 5000)",
        ),
    ],
)
def test_wrong_calibrations_are_refused_by_key(
    copy: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(copy, "calibration.yaml", change)
    with pytest.raises(BundleError, match=r"calibration\.yaml") as caught:
        load_bundle(copy)
    assert said in str(caught.value)


def test_a_wrong_vocabulary_is_refused(copy: Path) -> None:
    edit(copy, "vocabulary.yaml", lambda v: v.update(known=[]))
    with pytest.raises(BundleError, match=r"vocabulary\.yaml: known classes"):
        load_bundle(copy)


def test_code_in_yaml_is_refused(copy: Path) -> None:
    (copy / "bundle.yaml").write_text("format: !!python/object/apply:os.getcwd []")
    with pytest.raises(BundleError, match="syntax error"):
        load_bundle(copy)


def test_the_shipped_bundle_is_found_in_the_ros_install_tree(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "share" / "vl_anomaly_ros" / "bundles"
    shutil.copytree(tiny_bundle, place / "sim-nano")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "lib" / "vl_anomaly_ros" / "engine" / "bundle.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert default_bundle_path() == place / "sim-nano"


def test_an_absent_shipped_bundle_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "lib" / "vl_anomaly_ros" / "engine" / "bundle.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(BundleError, match="found in none"):
        default_bundle_path()
