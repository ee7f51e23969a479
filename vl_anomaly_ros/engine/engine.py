# SPDX-License-Identifier: Apache-2.0
"""The engine: one bundle on one backend, from an image and a vocabulary to anomaly scores."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vl_anomaly_ros.config import EngineConfig, MethodConfig
from vl_anomaly_ros.engine.backend import Backend, HeadOutput, VisualOutput, check_finite
from vl_anomaly_ros.engine.bundle import MASK_STRIDE, Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.engine.progress import Report
from vl_anomaly_ros.engine.terms import BankTerms, Terms, bank_with, terms_of
from vl_anomaly_ros.errors import DataError, EngineError, VlAnomalyError
from vl_anomaly_ros.text.bank import TextBank, TextBankBuilder, extended
from vl_anomaly_ros.text.tokenizer import Tokenizer
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.types import ByteArray, FloatArray, IntArray, check_array

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary as it is in use: swapped as a whole, so that a frame never sees half of a change."""

    vocabulary: Vocabulary
    bank: TextBank
    revision: int


@dataclass(frozen=True)
class Scores:
    """What the engine says of one image, without padding, before calibration.

    Attributes:
        score: (h, w) float32, fused anomaly score, 0..1.
        sources: (3, h, w) float32, detector, text and CLIP scores, 0..1.
        class_map: (h, w) int32, most probable known class.
        clip_features: (D, hc, wc) float32.
        lexicon: the vocabulary that was used.
        terms: of the score.
        letterbox: how the image lies in the network's input.
        features: what the head was given, padding included; what of it is not at hand can be had before the next
            image is run.
    """

    score: FloatArray
    sources: FloatArray
    class_map: IntArray
    clip_features: FloatArray
    lexicon: Lexicon
    terms: Terms
    letterbox: Letterbox
    features: VisualOutput


class Engine:
    """Image -> visual graph -> head graph with the text bank -> scores. Ready for its first frame when constructed.

    Args:
        bundle: verified bundle.
        backend: runs the bundle's graphs.

    Raises:
        BundleError: the tokenizer or the outputs do not fit the bundle's description.
        EngineError: the backend fails.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.backend = backend
        tokenizer = Tokenizer(bundle.read("tokenizer.json"), bundle.context_length)

        def encode(texts: Sequence[str]) -> FloatArray:
            rows = backend.text(tokenizer(texts))
            _check("embeddings", rows, (len(texts), bundle.embedding_size), np.float32)
            return rows

        self._banks = TextBankBuilder(encode, bundle.detector_classes, bundle.learned_prompt, bundle.prompt_templates)
        self._changing = threading.Lock()
        self._lexicon = Lexicon(bundle.vocabulary, self._banks.build(bundle.vocabulary), 0)
        self._last_bank = self._lexicon.bank, BankTerms(), self._lexicon.bank
        # The first run allocates; it also proves all shapes and numbers before a vehicle depends on them.
        features = self.run(np.full((bundle.input_height, bundle.input_width, 3), 127, np.uint8)).features
        self._check_features(VisualOutput(**{item.name: getattr(features, item.name) for item in fields(features)}))
        logger.info("engine %s ready, bundle %s", self.name, bundle.sha256[:12])

    @staticmethod
    def from_config(config: EngineConfig, report: Report | None = None) -> Engine:
        """The engine that the settings describe.

        Args:
            config: which bundle, backend, precision and threads.
            report: called at each step: an engine for a GPU that has to be built may take minutes.

        Raises:
            BundleError, EngineError: as `choose_engine`.
        """
        from vl_anomaly_ros.engine.choice import choose_engine

        bundle = load_bundle(config.bundle) if config.bundle else default_bundle()
        return choose_engine(bundle, config, report)

    @property
    def name(self) -> str:
        """Backend and bundle, such as "onnxruntime-cpu/sim-nano"."""
        return f"{self.backend.name}/{self.bundle.name}"

    @property
    def lexicon(self) -> Lexicon:
        """The vocabulary in use, with its text bank and revision."""
        return self._lexicon

    def set_vocabulary(self, vocabulary: Vocabulary, revision: int | None = None) -> int:
        """Use `vocabulary` from the next frame on; returns its revision. The graphs stay as they are.

        Args:
            vocabulary: all of it.
            revision: of an engine that this one replaces; by default one more than the present.

        Raises:
            EngineError: the text encoder failed, or the backend takes no bank that large; the old vocabulary stays.
        """
        with self._changing:
            bank = self._banks.build(vocabulary)
            self.backend.check(bank)
            lexicon = Lexicon(vocabulary, bank, self._lexicon.revision + 1 if revision is None else revision)
            self._lexicon = lexicon
        logger.info(
            "vocabulary %r, revision %d, %d x %d prompts", vocabulary.name, lexicon.revision, *bank.clip_mask.shape
        )
        return lexicon.revision

    def run(self, image: ByteArray, terms: Terms | None = None) -> Scores:
        """Scores of one image.

        Args:
            image: (H, W, 3) uint8 RGB, any size.
            terms: of the score; None: those of the default method.

        Raises:
            DataError: the image has another shape or type.
            EngineError: the backend failed, or its outputs are not finite or of another shape.
        """
        check_array("image", image, (None, None, 3), np.uint8)
        if 0 in image.shape:
            raise DataError(f"image: expected at least one pixel, got {image.shape[1]}x{image.shape[0]}")
        lexicon, bundle = self._lexicon, self.bundle
        letterbox = Letterbox.fit(image.shape[1], image.shape[0], bundle.input_width, bundle.input_height)

        features = self.backend.visual(letterbox.apply(image, bundle.mean))
        self._check_features(features)
        return self._judged(features, letterbox, lexicon, terms or terms_of(MethodConfig(), bundle.calibration))

    def again(self, scores: Scores, terms: Terms) -> Scores:
        """The same image by other terms, with the vocabulary that it was judged by; the visual graph is not run.

        Args:
            scores: of the image, before the next one is run.
            terms: of the new score.

        Raises:
            EngineError: as `run`.
        """
        return self._judged(scores.features, scores.letterbox, scores.lexicon, terms)

    def _judged(self, features: VisualOutput, letterbox: Letterbox, lexicon: Lexicon, terms: Terms) -> Scores:
        output = self.backend.head(features, self._bank(lexicon, terms.bank), terms.head_settings())
        self._check_output(output, len(lexicon.vocabulary.known))

        return Scores(
            score=letterbox.crop(output.score),
            sources=letterbox.crop(output.sources),
            class_map=letterbox.crop(output.class_map),
            clip_features=letterbox.crop_features(features.clip_features),
            lexicon=lexicon,
            terms=terms,
            letterbox=letterbox,
            features=features,
        )

    def words(self, words: Sequence[str]) -> FloatArray:
        """(N, D) float32 unit rows of words that are not in the vocabulary, as its candidates have them.

        Raises:
            EngineError: the text encoder failed.
        """
        return self._banks.words(words)

    def segment(self, scores: Scores, words: FloatArray) -> IntArray:
        """Segment an image once more, with words as further classes.

        Args:
            scores: of the image, before the next one is run.
            words: (n, D) float32 unit rows.

        Returns:
            (h, w) int32: the known classes, then `words`.

        Raises:
            EngineError: as `run`.
        """
        lexicon = scores.lexicon
        bank = extended(self._bank(lexicon, scores.terms.bank), words)
        output = self.backend.head(scores.features, bank, scores.terms.head_settings())
        known, classes = len(lexicon.vocabulary.known), len(lexicon.vocabulary.class_names)
        self._check_output(output, classes + len(words))
        class_map = scores.letterbox.crop(output.class_map)
        return np.where(class_map < known, class_map, class_map - (classes - known)).astype(np.int32)

    def close(self) -> None:
        """Free the backend; `run` then raises `EngineError`."""
        self.backend.close()

    def _bank(self, lexicon: Lexicon, terms: BankTerms) -> TextBank:
        """The vocabulary's bank as the terms want it; the last one is kept."""
        of, wanted, bank = self._last_bank
        if of is not lexicon.bank or wanted != terms:
            bank = bank_with(terms, lexicon.bank)
            self._last_bank = lexicon.bank, terms, bank
        return bank

    def _check_features(self, features: VisualOutput) -> None:
        """Shapes and numbers of what is at hand; the backend answers for the numbers of the rest, see `Backend`."""
        at_hand = features.at_hand()
        height, width = self.bundle.input_height // MASK_STRIDE, self.bundle.input_width // MASK_STRIDE
        size, queries = self.bundle.embedding_size, len(at_hand["mask_logits"]) if "mask_logits" in at_hand else None
        shapes: dict[str, tuple[int | None, ...]] = {
            "mask_logits": (None, height, width),
            "class_logits": (queries, len(self.bundle.detector_classes) + 1),
            "mask_embeddings": (queries, size),
            "pixel_embeddings": (size, height, width),
            "clip_features": (size, None, None),
        }
        for name, value in at_hand.items():
            _check(name, value, shapes[name], np.float32)
        check_finite(features)

    def _check_output(self, output: HeadOutput, known: int) -> None:
        height, width = self.bundle.input_height // MASK_STRIDE, self.bundle.input_width // MASK_STRIDE
        _check("score", output.score, (height, width), np.float32)
        _check("sources", output.sources, (3, height, width), np.float32)
        _check("class_map", output.class_map, (height, width), np.int32)
        check_finite(output)
        if output.class_map.view(np.uint32).max() >= known:  # read without its sign, a negative index is large
            raise EngineError(
                f"class_map: expected indices of {known} known classes, "
                f"got {output.class_map.min()} to {output.class_map.max()}"
            )


def _check(name: str, value: FloatArray | IntArray, shape: tuple[int | None, ...], dtype: type[np.generic]) -> None:
    """As `check_array`, but what comes out of the network is the engine's fault."""
    try:
        check_array(name, value, shape, dtype)
    except VlAnomalyError as error:
        raise EngineError(f"{error}; the graph does not fit bundle.yaml") from error
