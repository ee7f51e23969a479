# SPDX-License-Identifier: Apache-2.0
"""The real node, but for the network: `python -m bench.node_parts.stub_node ENGINE_MS burn|sleep --ros-args ...`."""

from __future__ import annotations

import sys

from bench.node_parts.stub_engine import make_engine
from bench.street import street_frame
from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.node.lifecycle import VlAnomalyNode
from vl_anomaly_ros.node.main import run

if __name__ == "__main__":
    instances = street_frame()[2]
    engine_ms, burn = float(sys.argv[1]), sys.argv[2] == "burn"

    def stub(config: EngineConfig) -> Engine:
        """The engine of the bench."""
        return make_engine(config, instances, engine_ms, burn=burn)

    sys.exit(run(lambda: VlAnomalyNode(make_engine=stub), sys.argv))
