# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly doctor`: what this machine has and lacks, and what mends each lack."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vl_anomaly_ros.console import say
from vl_anomaly_ros.errors import VlAnomalyError

EPILOG = """examples:
  vl-anomaly doctor
  vl-anomaly doctor --json

exit code 0: everything that replay needs is there; 1: something of it is absent
"""
_NEEDED = {
    "numpy": "numpy",
    "numba": "numba",
    "cv2": "opencv-python-headless",
    "onnxruntime": "onnxruntime",
    "tokenizers": "tokenizers",
    "yaml": "PyYAML",
    "rosbags": "rosbags",
    "jinja2": "Jinja2",
    "rich": "rich",
}
_ROS_PACKAGES = (
    "rclpy", "message_filters", "cv_bridge", "tf2_ros", "sensor_msgs", "geometry_msgs", "visualization_msgs",
    "diagnostic_msgs", "lifecycle_msgs", "std_srvs", "vl_anomaly_ros.msg", "vl_anomaly_ros.srv",
)  # fmt: skip
_EXTRAS = {
    "simulation": ("mujoco",),
    "training": ("torch", "torchvision", "open_clip", "transformers", "timm", "onnx"),
}
_GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report. `needed`: replay cannot go on without it. `fix`: what mends its absence."""

    what: str
    there: bool
    detail: str
    needed: bool = False
    fix: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Report; 0 when everything that replay needs is there."""
    findings = [finding for check in CHECKS for finding in check()]
    if args.json:
        say(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = "ok  " if finding.there else "LACK" if finding.needed else "-   "
            line = f"{mark}  {finding.what:<{width}}  {finding.detail}"
            say(line if finding.there else f"{line}; {finding.fix}")
    return 0 if all(finding.there for finding in findings if finding.needed) else 1


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 10), version, needed=True, fix="install Python 3.10 or newer")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    yield Finding(
        "machine", True, f"{len(os.sched_getaffinity(0))} CPU cores for this process, {memory:.1f} GiB memory"
    )


def _packages() -> Iterator[Finding]:
    for module, package in _NEEDED.items():
        version = _version(module, package)
        yield Finding(
            package, bool(version), version or "not installed", needed=True, fix=f"pip install '{package}' or use ./run"
        )


def _backend() -> Iterator[Finding]:
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        from vl_anomaly_ros.engine.choice import ORDER, obstacle

        yield Finding("inference", True, ", ".join(onnxruntime.get_available_providers()))
        for name in ORDER:
            missing, _, fix = obstacle(name).partition("; ")
            yield Finding(f"backend {name}", not missing, missing or "can be used", fix=fix)


def _bundle() -> Iterator[Finding]:
    from vl_anomaly_ros.engine.bundle import default_bundle

    try:
        bundle = default_bundle()
    except VlAnomalyError as error:
        fix = "make one by `./run vl-anomaly train` and `export`, or name another with --bundle"
        yield Finding("bundle", False, str(error).split(":")[0] + " cannot be used", needed=True, fix=fix)
    else:
        detail = f"{bundle.name} {bundle.version}, {bundle.sha256[:12]}, {len(bundle.vocabulary.known)} known classes"
        yield Finding("bundle", True, detail)


def _demo() -> Iterator[Finding]:
    from vl_anomaly_ros.demo.command import drive_folder

    try:
        yield Finding("drive of the demo", True, str(drive_folder()))
    except VlAnomalyError:
        fix = "make one by `./run vl-anomaly simulate` and name it with `demo --drive`"
        yield Finding("drive of the demo", False, "not here", fix=fix)


def _ros() -> Iterator[Finding]:
    absent = [name for name in _ROS_PACKAGES if not _has(name)]
    fix = "start by `./run vl-anomaly ...`, or source a ROS 2 installation and a workspace with this package"
    distribution = os.environ.get("ROS_DISTRO", "distribution not named")
    detail = f"{distribution}, {os.environ.get('RMW_IMPLEMENTATION', 'default middleware')}"
    yield Finding("ROS 2 (node, --live)", not absent, f"no {', '.join(absent)}" if absent else detail, fix=fix)
    if not absent:
        profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE", "")
        there = bool(profile) and Path(profile).is_file()
        fix = "export FASTDDS_DEFAULT_PROFILES_FILE=.../config/fastdds.xml: the defaults lose large images"
        yield Finding("Fast DDS profile", there, profile or "not set", fix=fix)
        shared = Path("/dev/shm")  # noqa: S108  # where DDS keeps its shared memory
        free = shutil.disk_usage(shared).free / _GIB if shared.is_dir() else 0.0
        fix = "give /dev/shm 1 GiB (docker run --shm-size=1g)"
        yield Finding("shared memory", free >= 0.5, f"{free:.1f} GiB free in /dev/shm", fix=fix)


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        detail = f"no {', '.join(absent)}" if absent else "there"
        yield Finding(f"extra [{extra}]", not absent, detail, fix=f"pip install 'vl-anomaly-ros[{extra}]'")


def _gpu() -> Iterator[Finding]:
    there = shutil.which("nvidia-smi") is not None
    yield Finding("NVIDIA GPU", there, "driver found" if there else "no driver", fix="not needed: the CPU is used")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _backend,
    _bundle,
    _demo,
    _ros,
    _extras,
    _gpu,
)


def _has(module: str) -> bool:
    """Whether a module can really be imported: shared libraries may be absent behind a package that is there."""
    try:
        importlib.import_module(module)
    except Exception:  # whatever a broken installation raises, it is not usable
        return False
    return True


def _version(module: str, package: str) -> str:
    """Version of an installed package; empty when its module cannot be found."""
    if importlib.util.find_spec(module) is None:
        return ""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # as a Debian package
        return str(getattr(importlib.import_module(module), "__version__", "version not known"))
