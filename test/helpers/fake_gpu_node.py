# SPDX-License-Identifier: Apache-2.0
"""The node on a TensorRT and a GPU that are none, whose builder waits in the middle of its work.

Start it with `python -m fake_gpu_node` in place of `-m vl_anomaly_ros.node`; `GO_ON` names a file: while it is absent,
a build stays at step 3 of 12 of its phase "tactics".
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import sleep
from typing import Any

import fake_cuda
import fake_gpu

VARIABLE = "GO_ON"


class WaitingBuilder(fake_gpu.FakeBuilder):
    """Builds once it may."""

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        """As the other, later."""
        monitor = config.progress_monitor
        monitor.phase_start("tactics", None, 12)
        monitor.step_complete("tactics", 2)
        while not Path(os.environ[VARIABLE]).exists():
            sleep(0.02)
        monitor.phase_finish("tactics")
        return super().build_serialized_network(network, config)


def install() -> None:
    """From now on `import tensorrt` and `import cuda.bindings.runtime` find what stands in for them."""
    trt = fake_gpu.fake_tensorrt()
    trt.Builder = WaitingBuilder
    sys.modules["cuda"] = type(sys)("cuda")
    sys.modules["cuda.bindings"] = type(sys)("cuda.bindings")
    sys.modules["cuda.bindings.runtime"] = fake_cuda.FakeRuntime()  # type: ignore[assignment]
    sys.modules["cuda.bindings.driver"] = fake_cuda.FakeDriver()  # type: ignore[assignment]
    sys.modules["tensorrt"] = trt


if __name__ == "__main__":
    install()
    from vl_anomaly_ros.node.lifecycle import VlAnomalyNode
    from vl_anomaly_ros.node.main import run

    raise SystemExit(run(VlAnomalyNode))
