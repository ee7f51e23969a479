# SPDX-License-Identifier: Apache-2.0
"""Let `pip install .` work without ROS; pyproject.toml holds the settings, this file the data that goes along.

A ROS build does not use this file: package.xml names ament_cmake, so colcon goes through CMakeLists.txt.
"""

from pathlib import Path

from setuptools import setup


def shipped(*folders: str) -> list[tuple[str, list[str]]]:
    """Return the files of `folders`, each with its place below the prefix: where a ROS build installs them too."""
    found = (folder for top in folders for folder in [Path(top), *Path(top).rglob("*")] if folder.is_dir())
    return [
        (f"share/vl_anomaly_ros/{folder.as_posix()}", [path.as_posix() for path in folder.iterdir() if path.is_file()])
        for folder in found
    ]


setup(package_data={"vl_anomaly_ros": ["**/*.j2"]}, data_files=shipped("bundles", "demo", "config", "msg"))
