# SPDX-License-Identifier: Apache-2.0
"""The image network in PyTorch on the GPU, to compare with: the same weights, taken out of the bundle's graph."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.report import percentiles
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.types import ByteArray

WARM_UP = 10


def pytorch_rows(bundle: Bundle, picture: ByteArray, frames: int) -> dict[str, Any]:
    """Times of the eager and the compiled network, or why there are none.

    As for the other backends: from a picture on the host to CLIP's features on the host; the other features stay on the
    GPU. fp32 without TF32, and fp16 by autocast.

    Args:
        bundle: of networks that this project trains; others have no module to put their weights into.
        picture: (H, W, 3) uint8, of the network's size.
        frames: so many are timed.
    """
    try:
        import torch
    except ImportError as error:
        return {"not_compared": f"no PyTorch: {error}"}
    if not torch.cuda.is_available():
        return {"not_compared": f"PyTorch {torch.__version__} finds no CUDA"}
    settings = Path(bundle.path) / "training.yaml"
    if not settings.is_file():
        return {"not_compared": "the bundle holds ONNX graphs alone, and no training.yaml that says of which modules"}
    of: Any = import_module  # what needs PyTorch is not type-checked with the rest
    config = of("vl_anomaly_ros.training.config").load_config(settings)
    recover = of("vl_anomaly_ros.training.recover").recover
    try:
        clip, segmenter, aligner = recover(Path(bundle.path), config)  # compares itself with the graph
    except Exception as error:  # also what PyTorch's exporter raises, which is anything
        return {"not_compared": f"the weights were not got out of the graph: {error}"}
    parts = segmenter, aligner, clip, list(config.bundle.mean), list(config.bundle.std)
    visual = of("vl_anomaly_ros.model.visual").Visual(*parts).eval().cuda()
    rows: dict[str, Any] = {"version": torch.__version__, "device": torch.cuda.get_device_name()}
    for precision in ("fp32", "fp16"):
        for name in ("eager", "compiled"):
            network = torch.compile(visual) if name == "compiled" else visual
            rows[f"{name}_{precision}"] = _row(torch, network, picture, frames, half=precision == "fp16")
    return rows


def _row(torch: Any, network: Any, picture: ByteArray, frames: int, *, half: bool) -> dict[str, Any]:
    try:
        return _times(torch, network, picture, frames, half=half)
    except Exception as error:  # the compiler has its own errors, and wants a C compiler
        return {"not_compared": f"{type(error).__name__}: {error}"[:300]}


def _times(torch: Any, network: Any, picture: ByteArray, frames: int, *, half: bool) -> dict[str, Any]:
    image = torch.from_numpy(picture[None].copy()).pin_memory()
    began = perf_counter()
    times: list[float] = []
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
        for frame in range(WARM_UP + frames):
            started = perf_counter()
            outputs = network(image.cuda(non_blocking=True))
            outputs[4].cpu()  # waits
            times.append(1e3 * (perf_counter() - started))
            if frame == 0:
                first_s = perf_counter() - began
    return {
        "visual": percentiles(times[WARM_UP:]),
        "first_s": round(first_s, 2),  # with the compilation
        "peak_memory_bytes": int(torch.cuda.max_memory_allocated()),
    }
