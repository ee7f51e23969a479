# SPDX-License-Identifier: Apache-2.0
"""A bundle that sees colours: real ONNX graphs with hand-set weights, so that every output can be predicted.

Grey is road, green vegetation, blue sky; red, magenta and yellow are anomalies, which the dictionary names dog, sofa
and cone. A pixel of exactly `POISON_RGB` makes the network give NaN. The same call writes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

GREY, GREEN, BLUE = (120, 120, 120), (30, 160, 40), (90, 130, 250)
RED, MAGENTA, YELLOW = (230, 20, 20), (220, 20, 220), (220, 220, 20)
POISON_RGB = (1, 254, 253)
COLOURS = ("grey", "green", "blue", "red", "magenta", "yellow", "any", "bias")
D, Q, L = len(COLOURS), 4, 12
DETECTOR_CLASSES = ("road", "vegetation", "sky")
WORDS: dict[str, dict[str, float]] = {
    "road": {"grey": 1}, "street": {"grey": 1},
    "vegetation": {"green": 1}, "tree": {"green": 1},
    "sky": {"blue": 1},
    "animal": {"red": 1, "any": 0.3}, "dog": {"red": 1}, "fox": {"red": 1},
    "furniture": {"magenta": 1, "any": 0.3}, "sofa": {"magenta": 1},
    "cone": {"yellow": 1},
}  # fmt: skip
SILENT = ("[PAD]", "<s>", "</s>", "<ctx0>", "<ctx1>", "a", "photo", "of", "the", ".")
VOCABULARY = {
    "name": "colours",
    "known": [
        {"name": "road", "group": "ground", "synonyms": ["street"]},
        {"name": "vegetation", "group": "background", "synonyms": []},
        {"name": "sky", "group": "background", "synonyms": []},
    ],
    "ood_prompts": ["animal", "furniture"],
    "candidates": ["dog", "sofa", "cone"],
}
_OF_ALL_METHODS = {
    "source_weights": [0.5, 0.25, 0.25],
    "temperatures": [0.1, 0.1],
    "clip_dense_weight": 0.5,
    "probability": {"score": [0.0, 0.2, 0.6, 1.0], "probability": [0.01, 0.05, 0.9, 0.99]},
    "threshold": 0.5,
    "min_name_confidence": 0.5,
    "measured_on": "nothing: set by hand",
}
CALIBRATION = {
    **deepcopy(_OF_ALL_METHODS),
    "methods": {"vl4ad": deepcopy(_OF_ALL_METHODS), "clipomaly": deepcopy(_OF_ALL_METHODS)},
}


def build_tiny_bundle(path: Path, *, width: int = 64, height: int = 32, name: str = "tiny") -> Path:
    """Write the bundle into the folder `path` and return it. `width` and `height`: network size, multiples of 8."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "visual.onnx").write_bytes(_visual(width, height))
    (path / "head.onnx").write_bytes(_head(width // 4, height // 4))
    (path / "text.onnx").write_bytes(_text())
    (path / "tokenizer.json").write_text(_tokenizer().to_str())
    (path / "vocabulary.yaml").write_text(yaml.safe_dump(VOCABULARY, sort_keys=False))
    (path / "calibration.yaml").write_text(yaml.safe_dump(CALIBRATION, sort_keys=False))
    description = {
        "format": 1,
        "name": name,
        "version": "0.1.0",
        "license": "Apache-2.0",
        "provenance": "weights set by hand",
        "input": {"width": width, "height": height, "resize": "letterbox"},
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "embedding_size": D,
        "context_length": L,
        "logit_scale": 20.0,
        "detector_classes": list(DETECTOR_CLASSES),
        "learned_prompt": "<ctx0> <ctx1> {}",
        "prompt_templates": ["a photo of a {}.", "the {}."],
        "files": {},
        "figures": {},
    }
    return rehash(path, description)


def rehash(path: Path, description: dict[str, Any] | None = None) -> Path:
    """Write bundle.yaml anew with the present hashes, after a test changed a file or the description."""
    description = description or yaml.safe_load((path / "bundle.yaml").read_text())
    files = ["visual.onnx", "head.onnx", "text.onnx", "tokenizer.json", "vocabulary.yaml", "calibration.yaml"]
    description["files"] = {file: hashlib.sha256((path / file).read_bytes()).hexdigest() for file in files}
    (path / "bundle.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return path


def picture(width: int = 320, height: int = 160) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) uint8 RGB: sky over vegetation over road, with a red thing and, right of it, a magenta one.

    The things fill x 1/8 to 3/8 and 5/8 to 7/8, y 1/2 to 7/8.
    """
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 4] = BLUE
    image[height // 4 : height // 2] = GREEN
    image[height // 2 :] = GREY
    rows = slice(height // 2, height * 7 // 8)
    image[rows, width // 8 : width * 3 // 8] = RED
    image[rows, width * 5 // 8 : width * 7 // 8] = MAGENTA
    return image


class _Graph:
    """Collects nodes; every call returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def const(self, value: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def reshape(self, value: str, shape: Sequence[int], out: str = "") -> str:
        return self("Reshape", value, self.const(shape, np.int64), out=out)

    def model(self, inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, tuple[int, list[Any]]]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
            [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tiny")
        model.ir_version = 8
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def _visual(width: int, height: int) -> bytes:
    g, h, w = _Graph(), height // 4, width // 4
    raw = g("Transpose", g("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    distance = g(
        "ReduceSum", g("Abs", g("Sub", raw, g.const(np.reshape(POISON_RGB, (1, 3, 1, 1))))), g.const([1], np.int64)
    )
    poison = g("Div", g("Mul", distance, g.const(0)), distance)  # 0 / 0 at the poison colour alone
    rgb = g("Div", raw, g.const(255))
    r, gr, b = (
        g("Slice", rgb, g.const([i], np.int64), g.const([i + 1], np.int64), g.const([1], np.int64)) for i in range(3)
    )
    value, low = g("Max", r, gr, b), g("Min", r, gr, b)
    value = g("Max", value, g.const(0.1))

    def strength(difference: str) -> str:
        return g("Clip", g("Div", g("Mul", difference, g.const(2)), value), g.const(0), g.const(1))

    grey = g("Relu", g("Sub", g.const(1), g("Div", g("Mul", g("Sub", g("Max", r, gr, b), low), g.const(4)), value)))
    pure = [strength(g("Sub", a, g("Max", x, y))) for a, x, y in ((gr, r, b), (b, r, gr), (r, gr, b))]
    mixed = [strength(g("Sub", g("Min", x, y), a)) for a, x, y in ((gr, r, b), (b, r, gr))]
    faint = g("Add", poison, g.const(0.05))
    colours = g("Concat", grey, *pure, *mixed, faint, g("Add", poison, g.const(0)), axis=1)
    features = g("AveragePool", colours, kernel_shape=[4, 4], strides=[4, 4])

    flat = g.reshape(features, [D, h * w])
    sees = np.zeros((Q, D))
    sees[[0, 1, 2], [0, 1, 2]] = 1
    sees[3, 3:6] = 1
    logits = g("Sub", g("Mul", g("MatMul", g.const(sees), flat), g.const(20)), g.const(10))
    g.reshape(logits, [Q, h, w], out="mask_logits")
    class_logits = np.eye(Q) * [10, 10, 10, 3]
    g("Identity", g.const(class_logits), out="class_logits")
    g("Identity", g.const(sees / np.linalg.norm(sees, axis=1, keepdims=True)), out="mask_embeddings")
    g.reshape(g("LpNormalization", flat, axis=0, p=2), [D, h, w], out="pixel_embeddings")
    coarse = g("AveragePool", features, kernel_shape=[2, 2], strides=[2, 2])
    g.reshape(g("Mul", coarse, g.const(3)), [D, h // 2, w // 2], out="clip_features")
    return g.model({"image": (TensorProto.UINT8, [1, height, width, 3])}, _visual_ports(w, h))


def _visual_ports(w: int, h: int) -> dict[str, tuple[int, list[Any]]]:
    real = TensorProto.FLOAT
    return {
        "mask_logits": (real, [Q, h, w]),
        "class_logits": (real, [Q, Q]),
        "mask_embeddings": (real, [Q, D]),
        "pixel_embeddings": (real, [D, h, w]),
        "clip_features": (real, [D, h // 2, w // 2]),
    }


def _head(w: int, h: int) -> bytes:
    g, hw, cells = _Graph(), h * w, h * w // 4
    one, axis0, axis1 = g.const(1), g.const([0], np.int64), g.const([1], np.int64)
    masks = g("Sigmoid", "mask_logits")
    masks_flat = g.reshape(masks, [Q, hw])
    classes = g("Softmax", "class_logits", axis=1)
    seen = g("Slice", classes, g.const([0], np.int64), g.const([-1], np.int64), axis1)
    nothing = g("Slice", classes, g.const([-1], np.int64), g.const([1 << 30], np.int64), axis1)
    weighted = g("Mul", masks_flat, g("Sub", one, nothing))
    weight_sum = g("Max", g("ReduceSum", weighted, axis0), g.const(0.1))

    def probability(embeddings: str, mask: str, temperature_index: int, count: int) -> str:
        """Class probabilities (C, count) of (D, count) unit embeddings."""
        cosine = g("MatMul", "text_bank", embeddings)  # (C, R, count)
        barred = g("Mul", g("Sub", mask, one), g.const(1e4))
        barred = g("Unsqueeze", barred, g.const([2], np.int64))
        best = g("ReduceMax", g("Add", cosine, barred), axes=[1], keepdims=0)
        temperature = g("Gather", "temperatures", g.const(temperature_index, np.int64))
        softmax = g("Softmax", g("Div", best, temperature), axis=0)
        assert count > 0
        return g("Mul", softmax, g("ReduceMax", mask, axes=[1], keepdims=1))

    def over_masks(per_query: str) -> str:
        return g("Div", g("MatMul", per_query, weighted), weight_sum)

    def mean(a: str, b: str, share_of_b: str) -> str:
        return g("Add", g("Mul", a, g("Sub", one, share_of_b)), g("Mul", b, share_of_b))

    claims = g("MatMul", g("Transpose", seen, perm=[1, 0]), masks_flat)
    claims = g("Div", claims, g("Max", g("ReduceSum", claims, axis0), one))
    p_detector = g("MatMul", "detector_matrix", claims)

    p_pixel = probability(g.reshape("pixel_embeddings", [D, hw]), "aligned_mask", 0, hw)
    p_query = probability(g("Transpose", "mask_embeddings", perm=[1, 0]), "aligned_mask", 0, Q)
    p_text = mean(over_masks(p_query), p_pixel, "text_pixel_weight")

    dense = g.reshape("clip_features", [D, cells])
    coarse = g.reshape(masks, [1, Q, h, w])
    coarse = g.reshape(g("AveragePool", coarse, kernel_shape=[2, 2], strides=[2, 2]), [Q, cells])
    pooled = g("MatMul", dense, g("Transpose", coarse, perm=[1, 0]))
    p_query_clip = probability(g("LpNormalization", pooled, axis=0, p=2), "clip_mask", 1, Q)
    p_dense = probability(g("LpNormalization", dense, axis=0, p=2), "clip_mask", 1, cells)
    p_dense = g.reshape(p_dense, [1, -1, h // 2, w // 2])
    p_dense = g("Resize", p_dense, "", g.const([1, 1, 2, 2]), mode="linear")
    p_clip = mean(over_masks(p_query_clip), g.reshape(p_dense, [-1, hw]), "clip_dense_weight")

    share, of_seen, of_unseen = (g("Gather", "ensemble", g.const([index], np.int64)) for index in range(3))
    trained = g("ReduceMax", "detector_matrix", axes=[1], keepdims=1)  # (C, 1)
    exponent = mean(of_unseen, of_seen, trained)
    least = g.const(1e-12)
    logs = [g("Log", g("Max", p, least)) for p in (p_query, p_query_clip)]
    together = g("Exp", mean(logs[0], logs[1], exponent))
    for p in (p_query, p_query_clip):
        together = g("Mul", together, g("Cast", g("Greater", p, g.const(0)), to=TensorProto.FLOAT))
    together = g("Div", together, g("Max", g("ReduceSum", together, axis0), least))
    p_ensemble = over_masks(together)

    weights = [g("Gather", "source_weights", g.const(index, np.int64)) for index in range(3)]
    probabilities = [p_detector, p_text, p_clip]
    scores = []
    for p in probabilities:
        known = g("ReduceMax", g("MatMul", "group_matrix", p), axes=[0], keepdims=1)
        scores.append(g("Clip", g("Sub", one, known), g.const(0), one))
    total = g("Add", g("Add", weights[0], weights[1]), weights[2])
    shares = [g("Mul", s, g("Div", weight, total)) for s, weight in zip(scores, weights)]
    known = g("ReduceMax", g("MatMul", "group_matrix", p_ensemble), axes=[0], keepdims=1)
    doubt = g("Clip", g("Sub", one, known), g.const(0), one)
    fused = mean(g("Clip", g("Add", g("Add", *shares[:2]), shares[2]), g.const(0), one), doubt, share)
    g.reshape(fused, [h, w], out="score")
    g.reshape(g("Concat", *scores, axis=0), [3, h, w], out="sources")
    votes = [g("Mul", p, g("Div", weight, total)) for p, weight in zip(probabilities, weights)]
    known = g("ReduceMax", "group_matrix", axes=[0], keepdims=0)
    barred = g("Unsqueeze", g("Mul", g("Sub", known, one), g.const(1e4)), axis1)
    vote = g("Add", mean(g("Add", g("Add", *votes[:2]), votes[2]), p_ensemble, share), barred)
    best = g("Cast", g("ArgMax", vote, axis=0, keepdims=0), to=TensorProto.INT32)
    g.reshape(best, [h, w], out="class_map")

    real = TensorProto.FLOAT
    inputs = {
        **_visual_ports(w, h),
        "text_bank": (real, ["C", "R", D]),
        "aligned_mask": (real, ["C", "R"]),
        "clip_mask": (real, ["C", "R"]),
        "group_matrix": (real, ["G", "C"]),
        "detector_matrix": (real, ["C", len(DETECTOR_CLASSES)]),
        "source_weights": (real, [3]),
        "temperatures": (real, [2]),
        "text_pixel_weight": (real, [1]),
        "clip_dense_weight": (real, [1]),
        "ensemble": (real, [3]),
    }
    outputs = {"score": (real, [h, w]), "sources": (real, [3, h, w]), "class_map": (TensorProto.INT32, [h, w])}
    return g.model(inputs, outputs)


def _text() -> bytes:
    """Sum of the words' colours, normalised; a word that nobody knows is "any"."""
    table = np.zeros((len(SILENT) + 1 + len(WORDS), D))
    table[:, COLOURS.index("bias")] = 1e-4
    table[len(SILENT), COLOURS.index("any")] = 1
    for row, colours in enumerate(WORDS.values(), start=len(SILENT) + 1):
        for colour, value in colours.items():
            table[row, COLOURS.index(colour)] = value
    g = _Graph()
    total = g("ReduceSum", g("Gather", g.const(table), "tokens"), g.const([1], np.int64), keepdims=0)
    g("LpNormalization", total, axis=1, p=2, out="embeddings")
    return g.model({"tokens": (TensorProto.INT64, ["N", L])}, {"embeddings": (TensorProto.FLOAT, ["N", D])})


def _tokenizer() -> Tokenizer:
    words = (*SILENT, "[UNK]", *WORDS)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "<s>", "</s>", "<ctx0>", "<ctx1>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, words.index(token)) for token in ("<s>", "</s>")]
    )
    tokenizer.enable_truncation(L)
    tokenizer.enable_padding(length=L, pad_id=0, pad_token="[PAD]")  # noqa: S106
    return tokenizer
