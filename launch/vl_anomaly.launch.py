# SPDX-License-Identifier: Apache-2.0
r"""Start the node for one camera or several, with or without LiDAR.

ros2 launch vl_anomaly_ros vl_anomaly.launch.py \
    image:=/camera/image_raw camera_info:=/camera/camera_info points:=/lidar/points rviz:=true

ros2 launch vl_anomaly_ros vl_anomaly.launch.py cameras:=front,left,right \
    image:=/sensing/{camera}/image_raw camera_info:=/sensing/{camera}/camera_info points:=/lidar/points
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("vl_anomaly_ros"))

ARGUMENTS = {
    "params_file": (str(SHARE / "config" / "vl_anomaly.yaml"), "YAML file with the node's parameters"),
    "namespace": ("", "Namespace of the node"),
    "cameras": ("", "Names of the cameras, with commas between them; empty: node.cameras of the file, not remapped"),
    "image": ("", "Topic of the raw image; {camera} stands for the name; empty: image, or with several {camera}/image"),
    "image_compressed": ("", "Topic of the compressed image (node.image_transport: compressed), likewise"),
    "camera_info": ("", "Topic of the camera's calibration, likewise"),
    "points": ("points", "Topic of the LiDAR's point cloud (node.points: false where there is none)"),
    "method": ("", "vl_anomaly, vl4ad or clipomaly; empty: method.name of the file"),
    "autostart": ("true", "Configure and activate; false leaves that to a lifecycle manager"),
    "use_sim_time": ("false", "Take the time from /clock, as with a bag that is played back"),
    "rviz": ("false", "Open RViz with displays for all outputs"),
    "dds_profile": (
        str(SHARE / "config" / "fastdds_network.xml"),
        "Fast DDS profile that carries full-HD images; empty, or a profile in the environment: none is set",
    ),
}


def environment(context: LaunchContext) -> dict[str, str]:
    """Return what the processes get beside the shell's environment; what is set there stays."""
    wanted = {
        "MALLOC_MMAP_THRESHOLD_": "33554432",
        "MALLOC_TRIM_THRESHOLD_": "536870912",
        "OPENBLAS_NUM_THREADS": "1",  # its threads would spin beside the engine's, for matrices too small to share
    }
    profile = LaunchConfiguration("dds_profile").perform(context)
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if profile and not any(name in os.environ for name in names):
        older = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
        wanted[names[1] if older else names[0]] = profile
    return {name: value for name, value in wanted.items() if name not in os.environ}


def is_true(context: LaunchContext, argument: str) -> bool:
    """Return the value of a yes-or-no argument; a mistyped one must not pass for no."""
    value = LaunchConfiguration(argument).perform(context).lower()
    if value not in ("true", "false", "1", "0"):
        raise ValueError(f"{argument}: expected true or false, got {value}")
    return value in ("true", "1")


def remappings(context: LaunchContext, cameras: list[str]) -> list[tuple[str, str]]:
    """Return the node's own names of its input topics, each with the topic that is asked for."""
    pairs = [("points", LaunchConfiguration("points").perform(context))]
    for argument in ("image", "image_compressed", "camera_info"):
        topic = argument.replace("image_compressed", "image/compressed")
        wanted = LaunchConfiguration(argument).perform(context)
        if wanted and len(cameras) > 1 and "{camera}" not in wanted:
            raise ValueError(f"{argument}: expected {{camera}} in it, got {wanted}: {len(cameras)} cameras, one topic")
        for camera in cameras or ["camera"]:
            own = f"{camera}/{topic}" if len(cameras) > 1 else topic
            pairs.append((own, wanted.replace("{camera}", camera) or own))
    return pairs


def start(context: LaunchContext) -> list[Node]:
    """Return the node and RViz."""
    sim_time, autostart = is_true(context, "use_sim_time"), is_true(context, "autostart")
    cameras = [name.strip() for name in LaunchConfiguration("cameras").perform(context).split(",") if name.strip()]
    method = LaunchConfiguration("method").perform(context)
    given = {"use_sim_time": sim_time, "node.autostart": autostart}
    given |= {"node.cameras": cameras} if cameras else {}
    given |= {"method.name": method} if method else {}
    node = LifecycleNode(
        package="vl_anomaly_ros",
        executable="vl_anomaly_node",
        name="vl_anomaly",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), given],
        remappings=remappings(context, cameras),
        additional_env=environment(context),
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="vl_anomaly_rviz",
        arguments=["-d", str(SHARE / "rviz" / "vl_anomaly.rviz")],
        parameters=[{"use_sim_time": sim_time}],
        additional_env=environment(context),
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [node, rviz]


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and what they start."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
