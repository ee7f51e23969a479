# SPDX-License-Identifier: Apache-2.0
"""The bundle in the repository: complete, small, honest about its words, and open to a new vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.simulation.catalogue import KNOWN_CLASSES, anomaly_categories
from vl_anomaly_ros.text.vocabulary import KnownClass

FOLDER = Path(__file__).parents[2] / "bundles" / "sim-nano"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FOLDER)


@pytest.fixture(scope="module")
def runner(bundle: Bundle) -> BundleRunner:
    return BundleRunner(bundle, threads=1)


def test_it_is_at_most_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20e6


def test_its_words_are_the_simulations_and_the_unseen_are_not_among_them(bundle: Bundle) -> None:
    assert bundle.detector_classes == KNOWN_CLASSES
    assert bundle.vocabulary.known_names == KNOWN_CLASSES
    words = {*bundle.vocabulary.ood_prompts, *bundle.vocabulary.candidates}
    assert {row.name for row in anomaly_categories("seen")} <= words
    assert not {row.name for row in anomaly_categories("unseen")} & words


def test_it_says_what_it_reached_and_on_what(bundle: Bundle) -> None:
    """Of the hard world: 0.1.0 reached 0.135 and 0.176, 0.2.0 0.389 and 0.107, 0.3.0 0.612 and 0.042."""
    assert "200 simulated images of the hard world" in bundle.figures["test_set"]
    assert bundle.figures["auprc"] >= 0.615
    assert bundle.figures["fpr95"] <= 0.05  # the aim
    assert set(bundle.figures["sources"]) == {"detector", "text", "clip"}


def test_text_space_tells_the_taught_words_apart(runner: BundleRunner) -> None:
    names = [row.name for row in anomaly_categories("seen")] + list(KNOWN_CLASSES)
    one, two = (runner.encode([template.format(name) for name in names]) for template in ("a photo of a {}.", "{}"))
    nearest = (one @ two.T).argmax(1)
    assert (nearest == np.arange(len(names))).mean() >= 0.95


def test_a_word_made_known_lowers_the_score_where_it_fits(bundle: Bundle, runner: BundleRunner) -> None:
    """The same visual output, an OOD prompt turned into a known class: no graph is built anew."""
    rng = np.random.default_rng(0)
    visual = runner.visual(rng.integers(0, 256, (bundle.input_height, bundle.input_width, 3), dtype=np.uint8))
    like_a_sofa = runner.encode(["a photo of a sofa."])[0]
    visual["clip_features"] = np.broadcast_to(like_a_sofa[:, None, None], visual["clip_features"].shape).copy()
    before = runner.head(visual, (0.0, 0.0, 1.0), (0.02, 0.02), 1.0)[0]
    vocabulary = replace(
        bundle.vocabulary,
        known=(*bundle.vocabulary.known, KnownClass("sofa")),
        ood_prompts=tuple(word for word in bundle.vocabulary.ood_prompts if word != "sofa"),
    )
    changed = BundleRunner(replace(bundle, vocabulary=vocabulary), threads=1)
    after = changed.head(visual, (0.0, 0.0, 1.0), (0.02, 0.02), 1.0)[0]
    assert before.min() > 0.95
    assert after.max() < before.min() - 0.2
