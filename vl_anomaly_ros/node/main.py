# SPDX-License-Identifier: Apache-2.0
"""Start the node and spin it until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from vl_anomaly_ros.node.lifecycle import VlAnomalyNode
from vl_anomaly_ros.node.logs import RosLogHandler

_WAKE_S = 0.1


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code, 0 after a clean stop."""
    return run(VlAnomalyNode, args)


def run(make_node: Callable[[], VlAnomalyNode], args: Sequence[str] | None = None) -> int:
    """Make a node and run it until SIGINT or SIGTERM; returns the exit code, 0 after a clean stop.

    Signals are handled here and not by rclpy, so that the node can still finish its frame and say goodbye.
    """
    stop = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        del number, frame
        stop = True

    rclpy.init(args=None if args is None else list(args), signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    node = make_node()
    package_log = logging.getLogger("vl_anomaly_ros")
    handler = RosLogHandler(node.get_logger())
    package_log.addHandler(handler)
    package_log.setLevel(logging.INFO)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter("node.autostart").value is True:
            autostart(node)
        while not stop and rclpy.ok():
            executor.spin_once(timeout_sec=_WAKE_S)
        if not node.finalized:
            node.trigger_shutdown()
    finally:
        package_log.removeHandler(handler)
        hung = node.hung_engines
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()
    if hung:  # a thread that hangs in an engine cannot be ended: leave without waiting for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def autostart(node: VlAnomalyNode) -> None:
    """Configure and activate. A node that refuses stays, and says so: it can be mended and started by hand."""
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        node.get_logger().error("autostart: not configured; mend what is named above, then configure and activate")
    elif node.trigger_activate() != TransitionCallbackReturn.SUCCESS:
        node.get_logger().error("autostart: configured, but not activated; see above")
