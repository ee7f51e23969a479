# SPDX-License-Identifier: Apache-2.0
"""`python -m vl_anomaly_ros.node`."""

import sys

from vl_anomaly_ros.node.main import main

if __name__ == "__main__":
    sys.exit(main())
