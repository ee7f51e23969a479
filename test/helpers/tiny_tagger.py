# SPDX-License-Identifier: Apache-2.0
"""A tagger that sees colours: one real ONNX graph with hand-set weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

TAGS = ("fox", "sofa", "cone")


def write_tagger(folder: Path, **changes: Any) -> Path:
    """A network that says whether anything in the image is red, magenta or yellow; the fox is red."""
    folder.mkdir(exist_ok=True)
    # Red is R - G - B, magenta B - G, yellow G - B, at the pixel where it is most.
    weights = np.array([[1.0, -1, -1], [0, -1, 1], [0, 1, -1]], np.float32)[:, :, None, None] * 100
    scores = helper.make_node("Conv", ["image", "weights"], ["scores"])
    most = helper.make_node("ReduceMax", ["scores"], ["product"], axes=[2, 3], keepdims=0)
    limits = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("low", 0), ("high", 1))]
    clip = helper.make_node("Clip", ["product", "low", "high"], ["tags"])
    graph = helper.make_graph(
        [scores, most, clip],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 32])],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, [1, len(TAGS)])],
        [numpy_helper.from_array(weights, "weights"), *limits],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / "tagger.onnx").write_bytes(content)
    description = {
        "format": 1,
        "name": "colours",
        "input": {"width": 32, "height": 16},
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "logits": False,
        "tags": list(TAGS),
        "thresholds": 0.5,
        "sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    (folder / "tagger.yaml").write_text(yaml.safe_dump(description))
    return folder
