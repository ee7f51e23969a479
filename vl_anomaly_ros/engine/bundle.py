# SPDX-License-Identifier: Apache-2.0
"""The deployable unit: a folder with graphs, tokenizer, vocabulary and calibration, verified before use."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD, Calibration
from vl_anomaly_ros.engine.description import Description
from vl_anomaly_ros.engine.graph_file import check_graph_file, data_file
from vl_anomaly_ros.errors import BundleError, ConfigError, VocabularyError
from vl_anomaly_ros.text.tokenizer import MAX_TOKENIZER_BYTES
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES, parse_yaml, plain, read_file

FORMAT = 1
FILES = ("visual.onnx", "head.onnx", "text.onnx", "tokenizer.json", "vocabulary.yaml", "calibration.yaml")
DATA_FILES = tuple(data_file(file) for file in FILES if file.endswith(".onnx"))
"""Files that a bundle may hold besides: the weights of graphs that are too large for one file."""
DEFAULT_NAME = "sim-nano"
MAX_INPUT_PX = 8192
MAX_PROMPT_TEMPLATES = 128
MAX_GRAPH_BYTES = (1 << 31) - 1  # what protobuf can hold
MAX_DATA_BYTES = 1 << 33
_MOST_BYTES = {
    **{file: MAX_GRAPH_BYTES if file.endswith(".onnx") else MAX_YAML_BYTES for file in (*FILES, "bundle.yaml")},
    **dict.fromkeys(DATA_FILES, MAX_DATA_BYTES),
    "tokenizer.json": MAX_TOKENIZER_BYTES,
}
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
        calibrations: of the methods that it is calibrated for, the default one among them.
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
    calibrations: Mapping[str, Calibration]
    vocabulary: Vocabulary
    figures: Mapping[str, Any]

    @property
    def calibration(self) -> Calibration:
        """That of the default method."""
        return self.calibrations[DEFAULT_METHOD]

    def calibration_for(self, method: str) -> Calibration:
        """That of a method, as `method.name` of the settings.

        Raises:
            ConfigError: there is none. Another method's probabilities and threshold mean nothing for its scores.
        """
        if method not in self.calibrations:
            raise ConfigError(
                f"method.name: expected one that the bundle {self.name} is calibrated for "
                f"({', '.join(self.calibrations)}), got {method}; run vl-anomaly calibrate {plain(str(self.path))} "
                f"--method {method}"
            )
        return self.calibrations[method]

    def read(self, file: str) -> bytes:
        """Content of one of `FILES`, or of one of `DATA_FILES` that `hashes` lists.

        Raises:
            BundleError: it is absent or no longer what was verified.
        """
        return _verified(_folder(self.path), file, self.hashes[file])

    @contextmanager
    def laid_down(self, file: str) -> Iterator[Path]:
        """A graph, as it was verified, with the weights beside it, in a new folder of this process, which is removed.

        Raises:
            BundleError: as `read`.
        """
        with tempfile.TemporaryDirectory(prefix="vl_anomaly_") as folder:
            for name in (file, data_file(file)):
                if name in self.hashes:
                    (Path(folder) / name).write_bytes(self.read(name))
            yield Path(folder) / file


def load_bundle(path: str | Path) -> Bundle:
    """Verify a bundle folder and read its description.

    Args:
        path: the folder, as the operating system takes it: `~` and variables are not expanded.

    Raises:
        BundleError: a file is absent or altered, the format is another, or a value in it cannot be used.
    """
    path = Path(path)
    folder = _folder(path)
    description = _read(folder, "bundle.yaml")
    values = Description(parse_yaml(description, "bundle.yaml", BundleError))
    if values.get("format") != FORMAT:
        raise BundleError(f"bundle.yaml: expected format {FORMAT}, got {brief(values.get('format'))}; export it again")
    hashes = _file_hashes(values.get("files"))
    contents = {}
    for file in FILES:
        content = _verified(folder, file, hashes[file])
        if file.endswith(".onnx"):
            weights = data_file(file)
            data = _verified(folder, weights, hashes[weights]) if weights in hashes else b""
            check_graph_file(file, content, len(data))
        elif file.endswith(".yaml"):
            contents[file] = content
    try:
        vocabulary = Vocabulary.from_yaml(contents["vocabulary.yaml"])
    except VocabularyError as error:
        raise BundleError(f"vocabulary.yaml: {error}") from error
    size = values.get("input")
    if not isinstance(size, Mapping) or size.get("resize") != "letterbox":
        raise BundleError(f"bundle.yaml: input: expected width, height and resize: letterbox, got {brief(size)}")
    input_values = Description(size, "input: ")
    templates = values.texts("prompt_templates")
    if len(templates) > MAX_PROMPT_TEMPLATES:
        raise values.refuse("prompt_templates", f"at most {MAX_PROMPT_TEMPLATES}")
    return Bundle(
        path=path,
        sha256=_combined({**hashes, "bundle.yaml": hashlib.sha256(description).hexdigest()}),
        hashes=hashes,
        name=values.text("name"),
        version=values.text("version"),
        license=values.text("license"),
        provenance=values.note("provenance"),
        input_width=input_values.whole("width", MAX_INPUT_PX, MASK_STRIDE),
        input_height=input_values.whole("height", MAX_INPUT_PX, MASK_STRIDE),
        mean=values.rgb("mean", positive=False),
        std=values.rgb("std", positive=True),
        embedding_size=values.whole("embedding_size", 65536),
        context_length=values.whole("context_length", 4096),
        logit_scale=values.positive("logit_scale"),
        detector_classes=values.texts("detector_classes"),
        learned_prompt=values.template("learned_prompt", values.text("learned_prompt")),
        prompt_templates=tuple(values.template("prompt_templates", template) for template in templates),
        calibrations=Calibration.by_method(parse_yaml(contents["calibration.yaml"], "calibration.yaml", BundleError)),
        vocabulary=vocabulary,
        figures=values.figures("figures"),
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


def _file_hashes(files: Any) -> dict[str, str]:
    """The table `files`: all of `FILES`, some of `DATA_FILES`, so that no entry can point outside the folder."""
    if not isinstance(files, Mapping):
        raise BundleError(f"bundle.yaml: files: expected a SHA-256 for each of {', '.join(FILES)}, got {brief(files)}")
    for file in files:
        if file not in FILES + DATA_FILES:
            raise BundleError(f"bundle.yaml: files: unexpected {brief(file)}; a bundle holds {', '.join(FILES)}")
    listed = (*FILES, *(file for file in DATA_FILES if file in files))
    for file in listed:
        if not re.fullmatch("[0-9a-f]{64}", str(files.get(file))):
            raise BundleError(f"bundle.yaml: files: {file}: expected a SHA-256, got {brief(files.get(file))}")
    return {file: str(files[file]) for file in listed}


def _folder(path: Path) -> Path:
    """The one folder that really holds the bundle: where bundle.yaml lies, all links followed.

    An installation may be made of links, file by file, into the folder where the bundle was made; then they all lead
    there. A single file that lies elsewhere is refused by `_read`.
    """
    try:
        if path.is_dir():
            return (path / "bundle.yaml").resolve().parent
        got = "a file" if path.exists() else "nothing there"
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a zero byte; RuntimeError: links in a circle
        got = str(error)
    raise BundleError(
        f"{plain(str(path))}: expected a bundle folder, got {plain(got)}; write the path out (~ and variables are not "
        "expanded), or leave engine.bundle empty for the shipped bundle"
    )


def _read(folder: Path, file: str) -> bytes:
    path = folder / file
    try:
        inside = path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{plain(str(path))}: expected a readable file, got: {plain(str(error))}") from error
    if not inside:
        raise BundleError(
            f"{plain(str(path))}: expected a file inside the bundle, got a link that leads out of it; copy the file"
        )
    return read_file(path, _MOST_BYTES[file], BundleError)


def _verified(folder: Path, file: str, sha256: str) -> bytes:
    """Content with that hash. What is returned is what was hashed: nobody can exchange it in between."""
    content = _read(folder, file)
    have = hashlib.sha256(content).hexdigest()
    if have != sha256:
        raise BundleError(
            f"{plain(str(folder / file))}: expected SHA-256 {sha256[:12]}..., got {have[:12]}...; it was altered after "
            "the export: copy or export the bundle again"
        )
    return content


def _combined(hashes: Mapping[str, str]) -> str:
    lines = "".join(f"{file} {hashes[file]}\n" for file in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()
