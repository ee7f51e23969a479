# SPDX-License-Identifier: Apache-2.0
"""Words for a whole image from a tagger: any ONNX network that maps an image to scores of a list of tags.

A folder with `tagger.onnx` and `tagger.yaml`; docs/methods.md says what they hold. Clipomaly (arXiv 2512.01427) takes
the candidates of an image from such a network (RAM, the Recognize Anything Model).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from vl_anomaly_ros.config import NamingConfig
from vl_anomaly_ros.engine.bundle import MAX_INPUT_PX
from vl_anomaly_ros.engine.description import Description
from vl_anomaly_ros.engine.graph_file import check_graph_file
from vl_anomaly_ros.engine.onnxruntime import open_session, run_session
from vl_anomaly_ros.errors import BundleError, EngineError, VocabularyError
from vl_anomaly_ros.text.bank import Candidates, TextBank
from vl_anomaly_ros.text.vocabulary import Vocabulary, check_words
from vl_anomaly_ros.types import ByteArray, FloatArray
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES, parse_yaml, read_file

logger = logging.getLogger(__name__)

FORMAT = 1
DESCRIPTION, GRAPH = "tagger.yaml", "tagger.onnx"
MAX_TAGS = 16384
MAX_TAGGER_BYTES = (1 << 31) - 1


class Tagger:
    """Says which words are in an image.

    Args:
        folder: with the two files.
        threads: CPU threads, 0: one for each core that this process may use.

    Attributes:
        name: of the tagger.
        words: its tags, as (N,) words without duplicates.

    Raises:
        BundleError: a file is absent, altered, or does not say what it must; or the graph is no such network.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        folder = Path(folder)
        text = read_file(folder / DESCRIPTION, MAX_YAML_BYTES, BundleError)
        values = Description(parse_yaml(text, DESCRIPTION, BundleError), file=DESCRIPTION)
        if values.get("format") != FORMAT:
            raise values.refuse("format", str(FORMAT))
        size = Description(values.get("input"), "input: ", DESCRIPTION)
        self.name = values.text("name")
        self._size = size.whole("width", MAX_INPUT_PX), size.whole("height", MAX_INPUT_PX)
        self._logits = values.flag("logits")
        self.words = values.texts("tags", MAX_TAGS)
        try:
            check_words("tag", self.words, MAX_TAGS)
        except VocabularyError as error:
            raise BundleError(f"{DESCRIPTION}: {error}") from error
        self._thresholds = values.numbers("thresholds", len(self.words))
        content = read_file(folder / GRAPH, MAX_TAGGER_BYTES, BundleError)
        have, want = hashlib.sha256(content).hexdigest(), values.text("sha256")
        if have != want:
            raise BundleError(
                f"{GRAPH}: expected SHA-256 {want[:12]}..., got {have[:12]}...; write the hash of the graph that is "
                f"meant into {DESCRIPTION}, or copy the graph again"
            )
        check_graph_file(GRAPH, content)
        self._session = open_session(GRAPH, content, threads)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        kinds = ("tensor(float)", "tensor(uint8)")
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in kinds or len(inputs[0].shape) != 4:
            raise BundleError(
                f"{GRAPH}: expected one input, float32 [1, 3, H, W] or uint8 [1, H, W, 3], and one output, got "
                f"{len(inputs)} and {len(outputs)}"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._normalises = inputs[0].type == kinds[1]  # within the graph
        if not self._normalises:
            self._mean = np.array(values.rgb("mean", positive=False), np.float32)
            self._std = np.array(values.rgb("std", positive=True), np.float32)
        self.scores(np.full((8, 8, 3), 127, np.uint8))  # proves shapes before a vehicle depends on them

    def scores(self, image: ByteArray) -> FloatArray:
        """(N,) float32 score of each tag, 0..1.

        Args:
            image: (H, W, 3) uint8 RGB, stretched to the network's size as RAM's own preprocessing does.

        Raises:
            EngineError: the network failed, or gave something else than N finite numbers.
        """
        small = cv2.resize(np.ascontiguousarray(image), self._size, interpolation=cv2.INTER_AREA)
        if self._normalises:
            network = small[None]
        else:
            network = ((small.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)[None]
        values = np.asarray(run_session(self._session, [self._output], {self._input: np.ascontiguousarray(network)})[0])
        if values.size != len(self.words) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise EngineError(
                f"tagger {self.name}: expected {len(self.words)} finite float32 scores, got {values.dtype.name} "
                f"{'x'.join(map(str, values.shape))}; the tags in {DESCRIPTION} must be those of the graph"
            )
        values = values.reshape(-1)
        return np.asarray(1 / (1 + np.exp(-values)) if self._logits else values, np.float32)

    def tags(self, image: ByteArray, most: int) -> list[int]:
        """Indices into `words` of what is in the image, the best first, at most so many.

        Raises:
            EngineError: as `scores`.
        """
        scores = self.scores(image)
        order = np.argsort(-scores, kind="stable")
        return [int(index) for index in order if scores[index] >= self._thresholds[index]][:most]


class Suggestions:
    """The names that the regions of an image may be given: of the dictionary, of a tagger, or of both.

    Args:
        config: `tagger` is read now, everything else with each image.
        encode: gives the (N, D) rows of the tagger's words.
        threads: as `Tagger`.

    Raises:
        BundleError: as `Tagger`.
        EngineError: the words cannot be encoded.
    """

    def __init__(self, config: NamingConfig, encode: Callable[[Sequence[str]], FloatArray], threads: int = 0) -> None:
        self._tagger = Tagger(config.tagger, threads) if config.tagger else None
        self._rows = encode(self._tagger.words) if self._tagger else None
        if self._tagger:
            logger.info("tagger %s, %d words", self._tagger.name, len(self._tagger.words))

    def of(
        self, image: ByteArray, vocabulary: Vocabulary, bank: TextBank, config: NamingConfig, *, needed: bool = True
    ) -> Candidates:
        """The candidates of an image; where the tagger fails, those of the dictionary.

        Args:
            image: (H, W, 3) uint8 RGB.
            vocabulary: in use.
            bank: of that vocabulary.
            config: strategy and limits.
            needed: whether there is anything to name; the tagger is not run in vain.
        """
        dictionary = Candidates(vocabulary.candidates, bank.candidates)
        if not needed or self._tagger is None or self._rows is None or config.strategy == "dictionary":
            return dictionary
        try:
            seen = self._tagger.tags(image, config.max_tags)
        except EngineError as error:
            logger.warning("names come from the dictionary alone: %s", error)
            return dictionary
        words, rows = tuple(self._tagger.words[index] for index in seen), self._rows[seen]
        if config.strategy == "tagger":
            return Candidates(words, rows, frozenset(words))
        return dictionary.with_tags(words, rows)
