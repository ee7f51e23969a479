# SPDX-License-Identifier: Apache-2.0
"""A module to an ONNX file, its weights inside or, where it is large, in one file beside it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from vl_anomaly_ros.engine.graph_file import data_file

OPSET = 17
INLINE_BYTES = 1 << 30
"""From here on weights go into a second file: protobuf ends at 2 GiB, and readers need copies of a whole file."""
_SMALL_TENSOR_BYTES = 4096  # stays inside the graph: shape inference reads small constants


def export_graph(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str],
    dynamic: dict[str, dict[int, str]] | None = None,
) -> None:  # fmt: skip
    """Trace a module into an ONNX file of opset 17."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel has no ONNX form
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every constant shape; they are meant so
            torch.onnx.export(
                module, example, str(path), input_names=inputs, output_names=outputs, dynamic_axes=dynamic,
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def gather_weights(made: Path, path: Path, inline_bytes: int = INLINE_BYTES) -> None:
    """Move an exported graph to its place: one file, or above `inline_bytes` two.

    Args:
        made: the graph as the exporter wrote it, alone in a folder, with files of weights beside it where it had to.
        path: its place in a bundle; weights go into its `data_file`.
        inline_bytes: largest size of one file.
    """
    size = sum(file.stat().st_size for file in made.parent.iterdir())
    if size <= inline_bytes:
        shutil.move(made, path)
        return
    model = onnx.load(made)
    onnx.save(
        model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data_file(path.name),
        size_threshold=_SMALL_TENSOR_BYTES,
    )  # fmt: skip
    # onnx keeps the weights to their maker; the bundle is read by whoever runs the node.
    path.with_name(data_file(path.name)).chmod(path.stat().st_mode & 0o777)


@contextmanager
def whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """Give an empty neighbour to write into; it becomes `folder` when the block ends without an error.

    An old folder of that name is replaced only then; what a failed block has written is removed.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.replace(old)
        partial.replace(folder)
        shutil.rmtree(old)
    else:
        partial.replace(folder)
