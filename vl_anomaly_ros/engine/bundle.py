# SPDX-License-Identifier: Apache-2.0
"""The deployable unit: a folder with graphs, tokenizer, vocabulary and calibration, verified before use."""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import yaml

from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.errors import BundleError, VocabularyError
from vl_anomaly_ros.text.vocabulary import MAX_FILE_BYTES, Vocabulary

FORMAT = 1
FILES = ("visual.onnx", "head.onnx", "text.onnx", "tokenizer.json", "vocabulary.yaml", "calibration.yaml")
DEFAULT_NAME = "sim-nano"
MAX_INPUT_PX = 8192
MASK_STRIDE = 4  # network pixels per pixel of the masks


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Its large files are read on demand, and verified again as they are read.

    Attributes:
        path: the folder.
        sha256: over the names and hashes of all files: identifies the bundle in results.
        hashes: SHA-256 of each file.
        input_width, input_height: network size in pixels; images are fitted into it with their aspect ratio kept.
        mean, std: RGB, 0..1. Normalisation happens inside visual.onnx; the mean also colours the padding.
        embedding_size: D, of text, pixel and mask embeddings and CLIP features.
        context_length: token ids a text.
        logit_scale: CLIP's factor from cosine to logit.
        detector_classes: the K classes that the detector was trained on.
        learned_prompt, prompt_templates: texts with one `{}` for the word.
        figures: what it reached and on what.
    """

    path: Path
    sha256: str
    hashes: Mapping[str, str]
    name: str
    version: str
    license: str
    provenance: str
    input_width: int
    input_height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    embedding_size: int
    context_length: int
    logit_scale: float
    detector_classes: tuple[str, ...]
    learned_prompt: str
    prompt_templates: tuple[str, ...]
    calibration: Calibration
    vocabulary: Vocabulary
    figures: Mapping[str, Any]

    def read(self, file: str) -> bytes:
        """Content of one of `FILES`.

        Raises:
            BundleError: it is absent or no longer what was verified.
        """
        return _verified(self.path, file, self.hashes[file])


def load_bundle(path: str | Path) -> Bundle:
    """Verify a bundle folder and read its description.

    Raises:
        BundleError: a file is absent or altered, the format is another, or a value in it cannot be used.
    """
    path = Path(path)
    description = _read(path, "bundle.yaml")
    values = _Values(_yaml(path / "bundle.yaml", description))
    if values.get("format") != FORMAT:
        raise BundleError(f"bundle.yaml: expected format {FORMAT}, got {brief(values.get('format'))}; export it again")
    hashes = _file_hashes(values.get("files"))
    contents = {file: _verified(path, file, hashes[file]) for file in FILES if file.endswith(".yaml")}
    for file in FILES:
        _verified(path, file, hashes[file])
    try:
        vocabulary = Vocabulary.from_yaml(contents["vocabulary.yaml"])
    except VocabularyError as error:
        raise BundleError(f"vocabulary.yaml: {error}") from error
    size = values.get("input")
    if not isinstance(size, Mapping) or size.get("resize") != "letterbox":
        raise BundleError(f"bundle.yaml: input: expected width, height and resize: letterbox, got {brief(size)}")
    input_values = _Values(size, "input: ")
    return Bundle(
        path=path,
        sha256=_combined({**hashes, "bundle.yaml": hashlib.sha256(description).hexdigest()}),
        hashes=hashes,
        name=values.text("name"),
        version=values.text("version"),
        license=values.text("license"),
        provenance=values.text("provenance"),
        input_width=input_values.whole("width", MAX_INPUT_PX, MASK_STRIDE),
        input_height=input_values.whole("height", MAX_INPUT_PX, MASK_STRIDE),
        mean=values.rgb("mean", positive=False),
        std=values.rgb("std", positive=True),
        embedding_size=values.whole("embedding_size", 65536),
        context_length=values.whole("context_length", 4096),
        logit_scale=values.positive("logit_scale"),
        detector_classes=values.texts("detector_classes"),
        learned_prompt=values.template("learned_prompt", values.text("learned_prompt")),
        prompt_templates=tuple(values.template("prompt_templates", t) for t in values.texts("prompt_templates")),
        calibration=Calibration.from_mapping(_yaml(path / "calibration.yaml", contents["calibration.yaml"])),
        vocabulary=vocabulary,
        figures=values.get("figures") or {},
    )


def default_bundle_path() -> Path:
    """Folder of the shipped bundle: in the checkout, beside the installed package, or in the ROS install tree.

    Raises:
        BundleError: it is in none of them.
    """
    package = Path(__file__).resolve().parents[1]
    prefixes = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    places = [package.parent / "bundles", package / "bundles"]
    places += [Path(prefix) / "share" / "vl_anomaly_ros" / "bundles" for prefix in prefixes]
    for place in places:
        if (place / DEFAULT_NAME / "bundle.yaml").is_file():
            return place / DEFAULT_NAME
    raise BundleError(
        f"bundle {DEFAULT_NAME}: expected in one of {', '.join(map(str, places))}, found in none; "
        "name a bundle folder in engine.bundle"
    )


def default_bundle() -> Bundle:
    """The shipped bundle.

    Raises:
        BundleError: as `default_bundle_path` and `load_bundle`.
    """
    return load_bundle(default_bundle_path())


class _Values:
    """Typed access to a mapping from YAML; a wrong value is refused by its key."""

    def __init__(self, values: Any, prefix: str = "") -> None:
        if not isinstance(values, Mapping):
            raise BundleError(f"bundle.yaml: {prefix}expected a mapping, got {type(values).__name__}")
        self._values = values
        self._prefix = prefix

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def refuse(self, key: str, expected: str) -> BundleError:
        return BundleError(f"bundle.yaml: {self._prefix}{key}: expected {expected}, got {brief(self.get(key))}")

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(key, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.refuse(key, "a list of texts")
        return tuple(value)

    def template(self, key: str, text: str) -> str:
        if text.count("{}") != 1 or text.replace("{}", "").count("{") or text.replace("{}", "").count("}"):
            raise self.refuse(key, "exactly one {} for the word, and no other brace")
        return text

    def whole(self, key: str, most: int, multiple_of: int = 1) -> int:
        value = self.get(key)
        if type(value) is not int or not 0 < value <= most or value % multiple_of:
            raise self.refuse(key, f"a multiple of {multiple_of} up to {most}")
        return value

    def positive(self, key: str) -> float:
        value = self.get(key)
        if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
            raise self.refuse(key, "a positive number")
        return float(value)

    def rgb(self, key: str, *, positive: bool) -> tuple[float, float, float]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
            raise self.refuse(key, "3 numbers")
        if not all(0 <= v <= 1 and not (positive and v == 0) for v in value):
            raise self.refuse(key, "numbers from 0 to 1" + (", none of them 0" if positive else ""))
        return (float(value[0]), float(value[1]), float(value[2]))


def _file_hashes(files: Any) -> dict[str, str]:
    """The table `files`: exactly the names in `FILES`, so that no entry can point outside the folder."""
    if not isinstance(files, Mapping):
        raise BundleError(f"bundle.yaml: files: expected a SHA-256 for each of {', '.join(FILES)}, got {brief(files)}")
    for file in files:
        if file not in FILES:
            raise BundleError(f"bundle.yaml: files: unexpected {file!r}; a bundle holds {', '.join(FILES)}")
    for file in FILES:
        if not re.fullmatch("[0-9a-f]{64}", str(files.get(file))):
            raise BundleError(f"bundle.yaml: files: {file}: expected a SHA-256, got {brief(files.get(file))}")
    return {file: str(files[file]) for file in FILES}


def _read(folder: Path, file: str) -> bytes:
    path = folder / file
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{path}: expected a file inside the bundle, got a link that leads out of it")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: expected a readable file, got: {error.strerror}; the bundle is incomplete"
        ) from error


def _verified(folder: Path, file: str, sha256: str) -> bytes:
    content = _read(folder, file)
    have = hashlib.sha256(content).hexdigest()
    if have != sha256:
        raise BundleError(
            f"{folder / file}: expected SHA-256 {sha256[:12]}..., got {have[:12]}...; it was altered after the export"
        )
    return content


def _yaml(path: Path, content: bytes) -> Any:
    if len(content) > MAX_FILE_BYTES:
        raise BundleError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {len(content)}")
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: expected YAML, got a syntax error: {error}") from error


def _combined(hashes: Mapping[str, str]) -> str:
    lines = "".join(f"{file} {hashes[file]}\n" for file in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()
