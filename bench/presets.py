# SPDX-License-Identifier: Apache-2.0
"""Export of the presets at their real size, with random weights in the layouts of the published checkpoints.

Parity, sizes, times and peak memory of `vl-anomaly export --preset`, one preset a process, into
bench/results/presets.json. Random weights say nothing about what a network finds. It needs the extra `training`, up to
16 GB of memory and 10 GB of disk: `python -m bench.presets [PRESET...]` in an environment that has it.
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

from bench.report import RESULTS, machine, write_result

ROOT = Path(__file__).resolve().parents[1]
NAME = "presets"


def main() -> int:
    """Measure the presets that are named, or all; the others keep their figures."""
    sys.path.insert(0, str(ROOT / "test" / "helpers"))
    from vl_anomaly_ros.model.presets import PRESETS

    parser = argparse.ArgumentParser(description="Export of the presets at their real size.")
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"of {', '.join(PRESETS)}")
    parser.add_argument("--folder", type=Path, help="where the checkpoints and bundles are put for the time of the run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", metavar="WxH", help="network size (default: the preset's)")
    args = parser.parse_args()
    for name in args.presets or list(PRESETS):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            figures = measure(name, Path(folder), args.threads, args.size)
        print(json.dumps(figures, indent=2))
        path = RESULTS / f"{NAME}.json"
        known = json.loads(path.read_text(encoding="utf-8")).get("presets", {}) if path.is_file() else {}
        known[name] = {**figures, "machine": machine()}
        write_result(NAME, {"weights": "random, in the published layouts", "presets": known})
    return 0


def measure(name: str, folder: Path, threads: int, size: str | None) -> dict[str, Any]:
    """Make the checkpoint, export it by the command, and return what the bundle says of itself."""
    make = [sys.executable, "-m", "bench.presets_checkpoint", name, str(folder), str(threads)]
    subprocess.run(make, check=True, cwd=ROOT)  # noqa: S603
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    bundle = folder / "bundle"
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
