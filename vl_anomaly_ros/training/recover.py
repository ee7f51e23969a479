# SPDX-License-Identifier: Apache-2.0
"""Weights out of a bundle's graphs, to train on from there.

A bundle holds graphs, not checkpoints: the exporter renames weights, transposes them, cuts them into blocks, and folds
batch normalisation into the convolution before it. Which initialiser is which weight is found out by exporting
networks of the same sizes with random weights: graphs of one shape have their weights in one order, and a random
weight is known by its value. What comes back is checked against the graphs themselves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.clip import TextEncoder, build_clip
from vl_anomaly_ros.model.segmenter import Segmenter
from vl_anomaly_ros.model.visual import OUTPUT_NAMES, Visual
from vl_anomaly_ros.training.config import TrainingConfig
from vl_anomaly_ros.training.export import export_text
from vl_anomaly_ros.training.export_graph import export_graph
from vl_anomaly_ros.training.segment_task import build_aligner

Array = npt.NDArray[np.float32]
Key = tuple[int, bytes]
Places = dict[Key, Array]  # weight of the twin -> weight of the bundle
_TOLERANCE = 1e-3  # of an output, relative to its largest value


def recover(bundle: Path, config: TrainingConfig) -> tuple[CLIP, Segmenter, PLAligner]:
    """Return the bundle's networks, to be trained on; batch normalisation does nothing yet, see `measure_norms`.

    Args:
        bundle: folder that `vl-anomaly train` wrote.
        config: of the same sizes as the run that it came from.

    Raises:
        BundleError: the bundle is damaged.
        TrainingError: its graphs are not those of networks of these sizes.
    """
    loaded = load_bundle(bundle)
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    clip = build_clip(config.clip, tokenizer.get_vocab_size())
    segmenter = Segmenter(config.segmenter, len(loaded.detector_classes))
    aligner = build_aligner(clip, tokenizer, config)
    visual = Visual(segmenter, aligner, clip, list(config.bundle.mean), list(config.bundle.std)).eval()
    text = TextEncoder(clip).eval()
    _randomise(nn.ModuleList([visual, clip]))
    size = (1, config.bundle.height_px, config.bundle.width_px, 3)
    image = torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder)
        export_graph(visual, (image,), twin / "visual.onnx", ["image"], list(OUTPUT_NAMES))
        export_text(twin / "text.onnx", clip, tokenizer)
        _fill(visual, twin / "visual.onnx", bundle / "visual.onnx", skip=("mean", "std"))
        _fill(text, twin / "text.onnx", bundle / "text.onnx")
    with torch.no_grad():
        clip.logit_scale.fill_(float(np.log(loaded.logit_scale)))
        aligner.contexts.copy_(clip.token_embedding.weight[aligner.context_ids])
    _compare(bundle / "visual.onnx", visual, image)
    _compare(bundle / "text.onnx", text, torch.tensor([e.ids for e in tokenizer.encode_batch(["a dog", "the road"])]))
    return clip, segmenter, aligner


@torch.no_grad()
def measure_norms(module: nn.Module, forward: Callable[[], object]) -> None:
    """Give batch normalisations the statistics of a batch without changing what the module computes on average.

    Args:
        module: its normalisations pass their input on, plus a bias, as `recover` leaves them.
        forward: runs the module on a batch.
    """

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
        norm.running_mean, norm.running_var = mean.clone(), variance.clone()
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)

    hooks = [m.register_forward_pre_hook(measure) for m in module.modules() if isinstance(m, nn.BatchNorm2d)]  # type: ignore[arg-type]
    was_training = module.training
    module.eval()
    forward()
    module.train(was_training)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def _randomise(module: nn.Module) -> None:
    """Give every weight a value of its own; batch normalisation passes its input on, plus a random bias."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.ones_(each.weight)
            nn.init.zeros_(each.running_mean)
            each.running_var.fill_(1.0 - each.eps)


def _fill(module: nn.Module, twin: Path, source: Path, skip: tuple[str, ...] = ()) -> None:
    """Copy the weights of `source` into the module, which `twin` was exported from."""
    ours, theirs = (list(_weights(path, skip)) for path in (twin, source))
    if [a.shape for a in ours] != [a.shape for a in theirs]:
        raise TrainingError(
            f"{source}: expected the graph of networks of the configured sizes, with {len(ours)} weights, got one with "
            f"{len(theirs)}, or of other shapes; use the training.yaml of the bundle and the version that wrote it"
        )
    found: Places = {}
    for mine, other in zip(ours, theirs, strict=True):
        found[_key(mine)] = other
        if mine.ndim == 2:
            found[_key(mine.T)] = other.T
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim:
                _fill_one(parameter, found)


def _fill_one(parameter: nn.Parameter, found: Places) -> None:
    """Copy one weight, whole or in equal blocks of rows; what is in neither graph keeps its value."""
    for blocks in (1, 3):
        if len(parameter) % blocks == 0:
            for part in parameter.chunk(blocks):
                given = found.get(_key(part.numpy()))
                if given is not None:
                    part.copy_(torch.from_numpy(given.reshape(part.shape).copy()))


def _key(array: Array) -> Key:
    """Return what tells a random weight from every other, whatever its axes of length 1."""
    return array.size, np.ascontiguousarray(array).ravel()[:8].tobytes()


def _weights(path: Path, skip: tuple[str, ...]) -> Iterator[Array]:
    for tensor in onnx.load(path).graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim and tensor.name not in skip:
            yield array


def _compare(graph: Path, module: nn.Module, example: Tensor) -> None:
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    with torch.no_grad():
        given = module(example)
    for output, ours, theirs in zip(
        session.get_outputs(), given if isinstance(given, tuple) else (given,), wanted, strict=True
    ):
        gap = float(np.abs(ours.numpy() - theirs).max())
        if gap > _TOLERANCE * max(1.0, float(np.abs(theirs).max())):
            raise TrainingError(
                f"{graph}: weights were taken out of the graph, but {output.name} then differs by {gap:.3g}; "
                "use the version that wrote the bundle"
            )
