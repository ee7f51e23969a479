# SPDX-License-Identifier: Apache-2.0
"""Which of NVIDIA's two libraries is installed. Their Python interfaces are the same where this project uses them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vl_anomaly_ros.errors import EngineError

_MODULES: Mapping[str, tuple[str, str]] = {
    "tensorrt": ("tensorrt", "install TensorRT 10 or 11 with its Python package, as JetPack and DRIVE OS bring it"),
    "tensorrt-rtx": ("tensorrt_rtx", "pip install tensorrt-rtx-cu13"),
}
NAMES = tuple(_MODULES)
_NEEDED = ("Builder", "OnnxParser", "Runtime", "ILogger", "IProgressMonitor")  # the last came with TensorRT 10


@dataclass(frozen=True)
class Library:
    """One of the two.

    Attributes:
        name: as `--backend` takes it.
        module: imported.
        version: such as "1.7.1.116"; an engine of one version does not run on another.
    """

    name: str
    module: Any
    version: str

    @property
    def capabilities(self) -> dict[str, Any]:
        """Compute capabilities that it builds for without a GPU, such as "8.9"; none where it needs the device."""
        kinds = getattr(self.module, "ComputeCapability", None)
        members = getattr(kinds, "__members__", {})
        return {_dotted(name): member for name, member in members.items() if name.startswith("SM")}


def load_library(name: str) -> Library:
    """Import a library.

    Raises:
        EngineError: it is not installed, cannot be loaded, or lacks what is needed, with what mends it.
    """
    module_name, fix = _MODULES[name]
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a package that only fetches the real one fails in its own ways
        raise EngineError(f"{name}: expected the Python module {module_name}, got: {error}; {fix}") from error
    missing = [each for each in _NEEDED if not hasattr(module, each)]
    if missing:
        raise EngineError(f"{name}: expected TensorRT with {missing[0]}, got {module_name} without it; {fix}")
    return Library(name, module, str(getattr(module, "__version__", "unknown")))


def _dotted(name: str) -> str:
    """As NVIDIA writes it.

    >>> _dotted("SM89"), _dotted("SM120")
    ('8.9', '12.0')
    """
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"
