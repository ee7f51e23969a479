# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly build-engine`: TensorRT engines of a bundle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vl_anomaly_ros.console import Progress, say
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.tensorrt.build import DEFAULT_VOCABULARY, PRECISIONS, BuildSettings
from vl_anomaly_ros.engine.tensorrt.cache import default_folder
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.engines import engines_of
from vl_anomaly_ros.engine.tensorrt.library import NAMES, load_library
from vl_anomaly_ros.engine.tensorrt.ranges import measure, measured
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.evaluation.calibration_pictures import normal_images
from vl_anomaly_ros.types import ByteArray

MOST_VOCABULARY = 4096
MOST_PICTURES = 128
EPILOG = """examples:
  vl-anomaly build-engine --backend tensorrt-rtx --compute-capability 8.9
  vl-anomaly build-engine --bundle bundles/mine --backend tensorrt-rtx --compute-capability 12.0 --json
  vl-anomaly build-engine --backend tensorrt --precision int8 --calibration-images pictures

TensorRT-RTX builds for a GPU that need not be there; it only finds its last kernels when the engine first runs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--bundle", type=Path, help="folder (default: the shipped one)")
    parser.add_argument("--backend", choices=NAMES, required=True, help="which library")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the arithmetic (default: fp32)")
    parser.add_argument(
        "--calibration-images", type=Path, metavar="DIR",
        help="with int8: pictures such as the vehicle will see, by which the ranges are measured anew; not needed once "
        f"they are; at most {MOST_PICTURES} are used, evenly spread",
    )  # fmt: skip
    parser.add_argument("--compute-capability", default="", metavar="N.N", help="of the GPU, ahead of time: 8.9")
    parser.add_argument(
        "--max-vocabulary", type=int, default=DEFAULT_VOCABULARY, metavar="N",
        help=f"most classes at run time, known and outlier words together (default: {DEFAULT_VOCABULARY})",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, metavar="DIR", help="of built engines (default: the user's cache folder)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Build, or find. Returns 0; errors are raised."""
    if not 1 <= args.max_vocabulary <= MOST_VOCABULARY:
        raise EngineError(f"--max-vocabulary: expected 1 to {MOST_VOCABULARY}, got {args.max_vocabulary}")
    if args.calibration_images is not None and args.precision != "int8":
        raise EngineError(f"--calibration-images: expected --precision int8, got {args.precision}; only it has ranges")
    library = load_library(args.backend)
    if library.capabilities and not args.compute_capability:
        raise EngineError(
            f"--compute-capability: expected one of {', '.join(library.capabilities)}, got none; name that of the GPU "
            "(NVIDIA's list: developer.nvidia.com/cuda-gpus)"
        )
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    settings = BuildSettings(args.precision, args.compute_capability, args.max_vocabulary)
    if not library.capabilities:
        with Device() as device:
            settings = settings.on(library, device)
    folder = args.cache or default_folder()
    ranges: dict[str, int | str] = {}
    if args.precision == "int8":
        images = args.calibration_images
        source = measured(bundle, folder) if images is None else measure(bundle, _pictures(images, bundle), folder)
        ranges = {"pictures": source.pictures, "pictures_sha256": source.pictures_sha256}
    with Progress("steps", quiet=args.json) as shown:
        entry, figures = engines_of(
            library, bundle, settings, folder, lambda _graph, _phase, done, total: shown.update(done, total)
        )
    sizes = {name: len(content) for name, content in entry.files.items()}
    report = {
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "library": library.name,
        "version": library.version,
        "precision": settings.precision,
        "ranges": ranges,
        "compute_capability": settings.compute_capability,
        "device": settings.device,
        "max_vocabulary": settings.max_vocabulary,
        "entry": str(entry.path),
        "built": entry.built,
        "bytes": sizes,
        "seconds": {graph: round(seconds, 2) for graph, seconds in figures.seconds.items()},
        "peak_memory_mb": round(figures.peak_memory_mb, 1),
    }
    if args.json:
        say(json.dumps(report, indent=2))
        return 0
    target = f"compute capability {settings.compute_capability}" if settings.compute_capability else settings.device
    say(f"{bundle.name} for {library.name} {library.version}, {target}")
    for name, size in sizes.items():
        seconds = figures.seconds.get(name.removesuffix(".engine"))
        say(f"  {name:<14}{size / 1e6:8.1f} MB  {'found' if seconds is None else f'built in {seconds:.1f} s'}")
    say(f"in {entry.path}")
    return 0


def _pictures(folder: Path, bundle: Bundle) -> Iterator[ByteArray]:
    """(h, w, 3) uint8 RGB each, evenly spread over a folder of pictures or a labelled set."""
    images = normal_images(folder, bundle)
    step = -(-len(images) // MOST_PICTURES)
    return (item.image for item in islice(images, 0, None, step))
