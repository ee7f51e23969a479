# SPDX-License-Identifier: Apache-2.0
"""Export of the presets at their real size, with random weights in the layouts of the published checkpoints.

Parity, sizes, times and peak memory of `vl-anomaly export --preset`, one preset a process, into
bench/results/presets.json. Random weights say nothing about what a network finds. It needs the extra `training`, up to
16 GB of memory and 10 GB of disk: `python -m bench.presets [PRESET...]` in an environment that has it.
`--keep DIR` leaves the bundles there; `--compile` also has TensorRT-RTX compile each of them, as bench/compile.py does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.compile import add_targets, compile_bundle
from bench.report import RESULTS, machine, write_result

ROOT = Path(__file__).resolve().parents[1]
NAME = "presets"


def main() -> int:
    """Measure the presets that are named, or all; the others keep their figures. Returns 1 where one was refused."""
    sys.path.insert(0, str(ROOT / "test" / "helpers"))
    from vl_anomaly_ros.model.presets import PRESETS

    parser = argparse.ArgumentParser(description="Export of the presets at their real size.")
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"of {', '.join(PRESETS)}")
    parser.add_argument("--folder", type=Path, help="where the checkpoints and bundles are put for the time of the run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", metavar="WxH", help="network size (default: the preset's)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the bundles in this folder, by preset")
    parser.add_argument("--compile", action="store_true", help="have TensorRT-RTX compile each bundle")
    add_targets(parser)
    args = parser.parse_args()
    compiled = []
    for name in args.presets or list(PRESETS):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            bundle = (args.keep or Path(folder)) / name
            figures = measure(name, Path(folder), bundle.resolve(), args.threads, args.size)
            print(json.dumps(figures, indent=2))
            keep(name, figures)
            if args.compile:
                compiled += compile_bundle(bundle, args.compute_capability, args.precision, Path(folder))
    return 1 if any("refused" in row for row in compiled) else 0


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write the figures of one preset beside those of the others."""
    path = RESULTS / f"{NAME}.json"
    known = json.loads(path.read_text(encoding="utf-8")).get("presets", {}) if path.is_file() else {}
    known[name] = {**figures, "machine": machine()}
    write_result(NAME, {"weights": "random, in the published layouts", "presets": known})


def measure(name: str, folder: Path, bundle: Path, threads: int, size: str | None) -> dict[str, Any]:
    """Make the checkpoint in a folder, export it by the command, and return what the bundle says of itself."""
    make = [sys.executable, "-m", "bench.presets_checkpoint", name, str(folder), str(threads)]
    subprocess.run(make, check=True, cwd=ROOT)  # noqa: S603
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "vl_anomaly_ros.cli", "export", "--preset", name, "--out", str(bundle)]
    command += ["--threads", str(threads), *(word for key, path in sources.items() for word in (f"--{key}", path))]
    command += ["--size", size] if size else []
    began = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": str(threads)})  # noqa: S603
    wall_s = round(time.monotonic() - began, 1)
    description = yaml.safe_load((bundle / "bundle.yaml").read_text(encoding="utf-8"))
    have = description["input"]
    return {"size": f"{have['width']}x{have['height']}", "whole_export_s": wall_s, **description["figures"]["export"]}


if __name__ == "__main__":
    sys.exit(main())
