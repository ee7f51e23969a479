# SPDX-License-Identifier: Apache-2.0
"""Image messages to OpenCV arrays and back."""

from cv_bridge.core import CvBridge, CvBridgeError

__all__ = ["CvBridge", "CvBridgeError"]
