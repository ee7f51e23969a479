# SPDX-License-Identifier: Apache-2.0
"""A small tagger on a bundle's frozen CLIP: which words are somewhere in an image, learned from what images hold.

Each tag has a linear score at every place of CLIP's dense features, and an image has the tag as much as its best place
has. It starts from the text embedding of the word and learns from images alone, without where the things are. Needs
NumPy, ONNX and ONNX Runtime, no PyTorch.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.tagger import DESCRIPTION, FORMAT, GRAPH
from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.image_set import LabelledImage
from vl_anomaly_ros.evaluation.metrics import PixelMetrics
from vl_anomaly_ros.evaluation.seal import write_yaml
from vl_anomaly_ros.types import BoolArray, FloatArray

log = logging.getLogger(__name__)

_FEATURES = "tagger_features"


@dataclass(frozen=True)
class TaggerSettings:
    """How a tagger is trained.

    Attributes:
        steps: of the optimisation, each on all training images.
        learning_rate: of Adam.
        min_area_px: a thing with fewer pixels in view is not said to be in the image.
        held_out: share of the images, the last ones, that thresholds and figures come from.
        pull: strength of the quadratic pull towards the text embeddings that the weights start from.
    """

    steps: int = 150
    learning_rate: float = 0.05
    min_area_px: int = 64
    held_out: float = 0.3
    pull: float = 1e-3


def train_tagger(
    bundle: Bundle,
    images: Iterable[LabelledImage],
    out: Path,
    described: str,
    settings: TaggerSettings | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a tagger for the candidates of the bundle's vocabulary and write its folder.

    Args:
        bundle: its CLIP sees, its text encoder gives the start.
        images: labelled, of the network's size; one seen by CLIP in training flatters the figures.
        out: folder of the tagger.
        described: the images in words, for its description.
        settings: of the training.
        progress: called with the number of images done.

    Returns:
        What it reached on the held-out images.

    Raises:
        TrainingError: too few images, or none with a candidate, or the bundle's image graph has another form.
    """
    settings = settings or TaggerSettings()
    words = bundle.vocabulary.candidates
    model = _feature_graph(bundle)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    features, present = [], []
    for done, item in enumerate(images, 1):
        features.append(np.asarray(session.run([_FEATURES], {"image": item.image[None]})[0], np.float32)[0])
        present.append(_present(item, words, settings.min_area_px))
        progress(done)
    split = len(features) - round(len(features) * settings.held_out)
    if not 0 < split < len(features) or not np.any(present[:split]) or not np.any(present[split:]):
        raise TrainingError(
            f"tagger: expected images with things that {bundle.name} has words for, to train on and to measure on, got "
            f"{len(features)} images with {int(np.sum(present))} such things in all"
        )
    maps, truth = np.stack(features).reshape(len(features), features[0].shape[0], -1), np.array(present)
    start = BundleRunner(bundle).bank.candidates * bundle.logit_scale
    weights, offsets = fit(maps[:split], truth[:split], start, settings)
    logits = _logits(maps[split:], weights, offsets)[0]
    thresholds, figures = _measured(logits, truth[split:])
    content = _tagger_graph(model, weights, offsets).SerializeToString()
    out.mkdir(parents=True, exist_ok=True)
    (out / GRAPH).write_bytes(content)
    description = {
        "format": FORMAT,
        "name": f"{bundle.name}-tagger",
        "license": bundle.license,
        "provenance": f"Linear on the frozen CLIP of {bundle.name} ({bundle.sha256[:12]}), trained on {described}.",
        "input": {"width": bundle.input_width, "height": bundle.input_height},
        "logits": True,
        "tags": list(words),
        "thresholds": [round(float(threshold), 4) for threshold in thresholds],
        "sha256": hashlib.sha256(content).hexdigest(),
        "figures": {"measured_on": f"the last {len(features) - split} of {described}", **figures},
    }
    write_yaml(out / DESCRIPTION, description)
    return figures


def fit(
    maps: FloatArray, truth: BoolArray, start: FloatArray, settings: TaggerSettings
) -> tuple[FloatArray, FloatArray]:
    """Weights (T, D) and offsets (T,) of the logistic loss on each image's best place, by Adam.

    Args:
        maps: (N, D, places) float32 features.
        truth: (N, T) which tags an image has.
        start: (T, D) weights to begin with and to stay near.
        settings: of the optimisation.
    """
    weights = start.astype(np.float32)
    logits, _ = _logits(maps, weights, np.zeros(len(weights), np.float32))
    offsets = -np.median(logits, axis=0).astype(np.float32)
    share = truth.mean(axis=0).clip(1 / len(truth), 1 - 1 / len(truth))
    balance = np.where(truth, 0.5 / share, 0.5 / (1 - share)) / truth.size  # a rare tag counts as much as a common one
    moments = [np.zeros((2, *value.shape), np.float32) for value in (weights, offsets)]
    rows = np.arange(len(maps))
    for step in range(1, settings.steps + 1):
        logits, places = _logits(maps, weights, offsets)
        slope = balance * (1 / (1 + np.exp(-logits)) - truth)  # (N, T)
        best = np.stack([maps[rows, :, places[:, tag]] for tag in range(len(weights))])  # (T, N, D)
        gradients = (
            np.einsum("nt,tnd->td", slope, best) + settings.pull * (weights - start) / len(weights),
            slope.sum(axis=0),
        )
        changes = []
        for gradient, moment in zip(gradients, moments, strict=True):
            moment[0] += 0.1 * (gradient - moment[0])
            moment[1] += 0.01 * (gradient**2 - moment[1])
            first, second = moment[0] / (1 - 0.9**step), moment[1] / (1 - 0.99**step)
            changes.append((settings.learning_rate * first / (np.sqrt(second) + 1e-8)).astype(np.float32))
        weights, offsets = weights - changes[0], offsets - changes[1]
    return weights, offsets


def _logits(maps: FloatArray, weights: FloatArray, offsets: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """(N, T) score of each image's best place, and which place that is."""
    values = weights @ maps + offsets[:, None]
    places = values.argmax(axis=2)
    return np.take_along_axis(values, places[..., None], axis=2)[..., 0], places


def _measured(logits: FloatArray, truth: BoolArray) -> tuple[FloatArray, dict[str, Any]]:
    """The threshold of the best F1 of each tag, on scores from 0 to 1, and what all of them reach together.

    It lies in the middle between two scores, so that the last digit does not decide. A tag that no held-out image has
    is never given: its threshold is 1.
    """
    scores = 1 / (1 + np.exp(-logits))
    thresholds, precisions = np.ones(scores.shape[1], np.float32), []
    for tag in range(scores.shape[1]):
        if truth[:, tag].any() and not truth[:, tag].all():
            metrics = PixelMetrics()
            metrics.update(scores[:, tag].astype(np.float32), truth[:, tag].astype(np.uint8))
            found = metrics.compute()
            below = scores[scores[:, tag] < found.f1_threshold, tag]
            thresholds[tag] = (found.f1_threshold + below.max(initial=0.0)) / 2
            precisions.append(found.auprc)
    given = scores >= thresholds
    right = int((given & truth).sum())
    return thresholds, {
        "mean_average_precision": round(float(np.mean(precisions)), 4),
        "precision": round(right / max(int(given.sum()), 1), 4),
        "recall": round(right / max(int(truth.sum()), 1), 4),
        "tags_measured": len(precisions),
    }


def _present(item: LabelledImage, words: Sequence[str], min_area_px: int) -> BoolArray:
    """(T,) which words name a thing with enough pixels in view."""
    seen = {
        str(record["category"])
        for record in item.objects
        if int((item.instances == record["instance"]).sum()) >= min_area_px
    }
    return np.array([word in seen for word in words])


def _feature_graph(bundle: Bundle) -> onnx.ModelProto:
    """From the image to CLIP's dense features, unit length at each place, the mean over 2 x 2 of them: [1, D, h, w]."""
    whole = onnx.load_model_from_string(bundle.read("visual.onnx"))
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in whole.graph.initializer):
        raise TrainingError(
            f"tagger: expected a bundle of less than 2 GiB, got {bundle.name}, whose weights lie outside"
        )
    model = Extractor(whole).extract_model(["image"], ["clip_features"])
    model.graph.node.extend(
        [
            helper.make_node("LpNormalization", ["clip_features"], ["tagger_unit"], axis=0, p=2),
            helper.make_node("Unsqueeze", ["tagger_unit", "tagger_first_axis"], ["tagger_batch"]),
            helper.make_node("AveragePool", ["tagger_batch"], [_FEATURES], kernel_shape=[2, 2], strides=[2, 2]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "tagger_first_axis"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, None))
    return model


def _tagger_graph(features: onnx.ModelProto, weights: FloatArray, offsets: FloatArray) -> onnx.ModelProto:
    """The features' graph with the linear scores and their maximum."""
    model = onnx.ModelProto()
    model.CopyFrom(features)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(weights[:, :, None, None], "tagger_weights"),
            numpy_helper.from_array(offsets, "tagger_offsets"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Conv", [_FEATURES, "tagger_weights", "tagger_offsets"], ["tagger_places"]),
            helper.make_node("ReduceMax", ["tagger_places"], ["tags"], axes=[2, 3], keepdims=0),
        ]
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("tags", TensorProto.FLOAT, [1, len(weights)]))
    onnx.checker.check_model(model)
    return model
