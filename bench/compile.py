# SPDX-License-Identifier: Apache-2.0
"""Bundles compiled ahead of time by TensorRT-RTX, for GPUs that need not be here: seconds, sizes and peak memory.

    python -m bench.compile [BUNDLE...] [--compute-capability 8.6 8.9 12.0] [--precision fp32 fp16]

Each is one `vl-anomaly build-engine` in a process of its own, into an empty cache that is thrown away; the shipped
bundle where none is named. It needs tensorrt-rtx-cu13, which the environment for training has. Into
bench/results/compile.json, where other bundles, GPUs and precisions keep their figures. That an engine was built says
nothing about whether it runs, how fast, or what it computes: that needs the GPU (`./run bench gpu`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.report import RESULTS, machine, write_result
from vl_anomaly_ros.console import note
from vl_anomaly_ros.engine.bundle import default_bundle_path, load_bundle

NAME = "compile"
CAPABILITIES = ("8.6", "8.9", "12.0")
PRECISIONS = ("fp32", "fp16")
_ROOT = Path(__file__).resolve().parents[1]

Row = dict[str, Any]


def main() -> int:
    """Compile, print and keep. Returns 1 where something was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="folder (default: the shipped one)")
    parser.add_argument("--folder", type=Path, help="where the engines are put for the time of the run")
    add_targets(parser)
    args = parser.parse_args()
    rows = []
    for bundle in args.bundles or [default_bundle_path()]:
        rows += compile_bundle(bundle, args.compute_capability, args.precision, args.folder)
    return 1 if any("refused" in row for row in rows) else 0


def add_targets(parser: argparse.ArgumentParser) -> None:
    """What is compiled for, on a command line."""
    parser.add_argument(
        "--compute-capability", nargs="+", default=list(CAPABILITIES), metavar="N.N", help="of the GPUs"
    )
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))


def compile_bundle(
    bundle: Path, capabilities: Iterable[str], precisions: Iterable[str], folder: Path | None = None
) -> list[Row]:
    """Compile a bundle for each GPU in each precision; each row is printed and kept as soon as it is known.

    Args:
        bundle: its folder.
        capabilities: compute capabilities, such as "8.9".
        precisions: of `PRECISIONS`.
        folder: where the engines are put for the time of the run; None: the system's place for such files.
    """
    loaded = load_bundle(bundle)
    graphs = {file: sha256[:16] for file, sha256 in loaded.hashes.items() if ".onnx" in file}
    about = {"size": f"{loaded.input_width}x{loaded.input_height}", "graphs": graphs}
    rows = []
    for precision in precisions:
        for capability in capabilities:
            note(f"{loaded.name}, {precision}, compute capability {capability}")
            on = {key: value for key, value in machine().items() if key in ("cpu", "cores", "load_1min")}
            row = {**compiled(bundle, capability, precision, folder), **on}
            note(json.dumps(row))
            path = RESULTS / f"{NAME}.json"
            known = json.loads(path.read_text(encoding="utf-8"))["bundles"] if path.is_file() else {}
            write_result(NAME, {"bundles": with_row(known, loaded.name, about, row)})
            rows.append(row)
    return rows


def compiled(bundle: Path, capability: str, precision: str, folder: Path | None = None) -> Row:
    """Figures of one `vl-anomaly build-engine`, or what it said when it refused."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        command = [sys.executable, "-m", "vl_anomaly_ros.cli", "build-engine", "--backend", "tensorrt-rtx", "--json"]
        command += ["--bundle", str(bundle.resolve()), "--cache", cache]
        command += ["--compute-capability", capability, "--precision", precision]
        began, used_s = time.monotonic(), _cpu_s()
        done = subprocess.run(command, check=False, cwd=_ROOT, capture_output=True, text=True)  # noqa: S603
        times = {"wall_s": round(time.monotonic() - began, 1), "cpu_s": round(_cpu_s() - used_s, 1)}
    return {"precision": precision, "compute_capability": capability, **times, **figures(done)}


def _cpu_s() -> float:
    """Processor time of all children that have ended: what a build takes, however busy the machine is."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def figures(done: subprocess.CompletedProcess[str]) -> Row:
    """What a finished `vl-anomaly build-engine --json` says of itself; of a failed one its last line."""
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"refused": said[-1]}
    report = json.loads(done.stdout)
    return {
        "library": f"{report['library']} {report['version']}",
        "max_vocabulary": report["max_vocabulary"],
        "seconds": report["seconds"],
        "megabytes": {name: round(size / 1e6, 1) for name, size in report["bytes"].items()},
        "peak_memory_gb": round(report["peak_memory_mb"] * 2**20 / 1e9, 2),
    }


def with_row(known: dict[str, Any], name: str, about: dict[str, Any], row: Row) -> dict[str, Any]:
    """The bundles with one row more, in place of the older one of that GPU and precision.

    Args:
        known: by the bundle's name: `about` and its `engines`.
        name: of the bundle.
        about: which size and graphs the name stands for; rows of any others are dropped.
        row: of that bundle.
    """
    before = known.get(name, {})
    same = {key: value for key, value in before.items() if key != "engines"} == about
    kept = [old for old in before["engines"] if _target(old) != _target(row)] if same else []
    return {**known, name: {**about, "engines": sorted([*kept, row], key=_target)}}


def _target(row: Row) -> tuple[str, float]:
    """Of what there is one row a bundle."""
    return row["precision"], float(row["compute_capability"])


if __name__ == "__main__":
    sys.exit(main())
