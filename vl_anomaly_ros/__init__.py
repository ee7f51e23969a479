# SPDX-License-Identifier: Apache-2.0
"""Find what perception was never trained on, name it, and place it in 3D."""

from pkgutil import extend_path

# A source checkout and a colcon install tree may both be on sys.path: the checkout holds the code, the install
# tree the generated `vl_anomaly_ros.msg` and `vl_anomaly_ros.srv`.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
