# SPDX-License-Identifier: Apache-2.0
"""Which part of the package may import which. Imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vl_anomaly_ros"
BASE = {"compiled", "config", "cores", "errors", "types", "untrusted"}
SUPPORT = {"assembly", "console", "decoding", "matching", "options", "overlay"}
CORE = BASE | {"text", "geometry", "engine", "perception", "pipeline"}
ALLOWED = {
    "compiled": set[str](),
    "cores": set[str](),
    "errors": set[str](),
    "untrusted": {"errors"},
    "config": {"errors"},
    "types": {"errors"},
    **dict.fromkeys(SUPPORT, BASE | SUPPORT),
    "assembly": BASE | SUPPORT | {"geometry"},
    "text": BASE,
    "geometry": BASE,
    "engine": BASE | {"text", "geometry"},
    "perception": BASE | {"text", "geometry"},
    "pipeline": CORE,
    "node": CORE | SUPPORT | {"msg", "srv"},
    "replay": CORE | SUPPORT,
    "evaluation": CORE | SUPPORT | {"replay"},
    "simulation": BASE | {"geometry", "console"},
    "model": BASE,
    "training": CORE | SUPPORT | {"evaluation", "model", "simulation"},
    "demo": CORE | SUPPORT | {"replay", "evaluation", "simulation"},
    **dict.fromkeys(
        ("cli", "doctor", "build_engine_command", "vocabulary_command"),
        CORE | SUPPORT | {"node", "replay", "evaluation", "simulation", "training", "demo"},
    ),
}
EXCEPTIONS = {("replay/live.py", "node")}
"""`replay --live` plays a recording into the node; it imports it when asked to."""

ROS = {
    "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "geometry_msgs", "launch", "launch_ros", "lifecycle_msgs",
    "message_filters", "nav_msgs", "rcl_interfaces", "rclpy", "rosidl_runtime_py", "sensor_msgs", "std_msgs",
    "std_srvs", "tf2_msgs", "tf2_ros", "visualization_msgs",
}  # fmt: skip
ONLY_IN = {
    **{name: {"model", "training"} for name in ("torch", "torchvision", "open_clip", "transformers", "timm")},
    **{name: {"node"} for name in ROS},
    "mujoco": {"simulation"},
    "rosbags": {"replay", "simulation"},
    "onnx": {"training", "engine"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names of everything that a file imports."""
    package = ("vl_anomaly_ros", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    part = relative.with_suffix("").parts[0]
    for name in imports(path):
        first, _, rest = name.partition(".")
        if first in ONLY_IN:
            assert part in ONLY_IN[first], f"{relative} imports {first}, which only {ONLY_IN[first]} may"
        if first == "vl_anomaly_ros" and part != "__init__":
            other = rest.split(".")[0]
            if other in ("__version__", part) or (relative.as_posix(), other) in EXCEPTIONS:
                continue
            assert part in ALLOWED, f"{relative}: say above what {part} may import"
            assert other in ALLOWED[part] | {""}, (
                f"{relative} imports {name}; {part} may import {sorted(ALLOWED[part])}"
            )


def test_the_check_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "text").mkdir()
    path = tmp_path / "text" / "module.py"
    path.write_text(
        "import torch.nn\nfrom ..engine import bundle\nfrom .. import node\nfrom .bank import TextBank\n"
        "def f():\n    from vl_anomaly_ros import replay\n"
    )
    assert list(imports(path)) == [
        "torch.nn",
        "vl_anomaly_ros.engine.bundle",
        "vl_anomaly_ros.node",
        "vl_anomaly_ros.text.bank.TextBank",
        "vl_anomaly_ros.replay",
    ]


def test_every_file_carries_the_licence() -> None:
    missing = [p for p in FILES if not p.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")]
    assert not missing
