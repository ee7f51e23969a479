# SPDX-License-Identifier: Apache-2.0
"""From sensor messages to arrays, without ROS.

The functions read attributes only (`height`, `encoding`, `data`, ...), so messages of rclpy and of a bag reader go
through the same code. Whatever a message claims is checked before its bytes are touched.
"""
