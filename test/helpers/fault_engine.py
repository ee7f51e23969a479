# SPDX-License-Identifier: Apache-2.0
"""A node whose engine misbehaves on demand: the real backend of the bundle, with faults put in by a control file.

Start it with `python -m fault_engine` in place of `-m vl_anomaly_ros.node`; `FAULT_CONTROL` names the file, which
`command` writes. Beside it the engine writes the fault of its newest image into a file `.seen`. Without a file, or with
an empty command, everything works.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import sleep, thread_time
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray

VARIABLE = "FAULT_CONTROL"
FOREVER_S = 3600.0


def command(
    path: Path, *, frame: str = "", text: str = "", load: str = "", loads: int = 0, slow_s: float = 0.0
) -> None:
    """Say how the engine is to misbehave from now on; replaced as a whole, so that nobody reads half of it.

    Args:
        path: the control file.
        frame: at each image: "raise", "foreign" (an error of no class of ours), "nan", "shape", "dtype", "hang" (in
            Python, sleeping), "busy" (in C, computing without the interpreter's lock until told otherwise), "compute"
            (0.2 s of processor time), or "" for nothing.
        text: at each encoding of words: "raise" or "hang".
        load: when it is loaded: "raise" or "hang".
        loads: how often loading raises before it works again, with `load` empty.
        slow_s: each image takes so long at least.
    """
    told = {"frame": frame, "text": text, "load": load, "loads": loads, "slow_s": slow_s}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.replace(path)


def helpers_on_the_path() -> dict[str, str]:
    """Environment in which Python finds this module."""
    return {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


class FaultyBackend:
    """The backend of ONNX Runtime, except for what the control file says. Loading and warming up are never touched."""

    def __init__(self, real: OnnxRuntimeBackend, control: Path) -> None:
        self.armed = False
        self._real = real
        self._control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def visual(self, image: ByteArray) -> VisualOutput:
        """As the real one, or not."""
        told = _told(self._control) if self.armed else {}
        sleep(told.get("slow_s", 0.0))
        fault = told.get("frame", "")
        self._control.with_suffix(".seen").write_text(fault)
        _misbehave(fault)
        while fault == "busy" and _told(self._control).get("frame") == fault:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000)
        good = self._real.visual(image)
        if fault == "nan":
            return replace(good, pixel_embeddings=np.full_like(good.pixel_embeddings, np.nan))
        if fault == "shape":
            return replace(good, pixel_embeddings=good.pixel_embeddings[:, :-1])
        if fault == "dtype":
            return replace(good, pixel_embeddings=good.pixel_embeddings.astype(np.float64))
        return good

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """As the real one."""
        return self._real.head(features, bank, settings)

    def check(self, bank: TextBank) -> None:
        """Any bank is taken."""

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """As the real one, or not."""
        if self.armed:
            _misbehave(_told(self._control).get("text", ""))
        return self._real.text(tokens)

    def close(self) -> None:
        """Free the real one."""
        self._real.close()


def make_engine(control: Path, config: EngineConfig) -> Engine:
    """The engine of the settings on a `FaultyBackend`."""
    told = _told(control)
    _misbehave(told.get("load", ""))
    if told.get("loads", 0) > 0:
        command(control, **{**told, "loads": told["loads"] - 1})
        raise EngineError("the accelerator is not there (injected)")
    bundle = load_bundle(config.bundle)
    backend = FaultyBackend(OnnxRuntimeBackend(bundle, config.threads), control)
    engine = Engine(bundle, backend)
    backend.armed = True
    return engine


def _told(control: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(control.read_text())
    except FileNotFoundError:
        return {}
    return told


def _misbehave(fault: str) -> None:
    if fault == "raise":
        raise EngineError("the accelerator has fallen off the bus (injected)")
    if fault == "foreign":
        raise KeyError("injected")
    if fault == "hang":
        sleep(FOREVER_S)
    if fault == "compute":
        end_s = thread_time() + 0.2
        while thread_time() < end_s:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1000)


if __name__ == "__main__":
    from vl_anomaly_ros.node.lifecycle import VlAnomalyNode
    from vl_anomaly_ros.node.main import run

    raise SystemExit(run(partial(VlAnomalyNode, make_engine=partial(make_engine, Path(os.environ[VARIABLE])))))
