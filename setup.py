# SPDX-License-Identifier: Apache-2.0
"""Let `pip install .` work without ROS; every setting is in pyproject.toml.

A ROS build does not use this file: package.xml names ament_cmake, so colcon goes through CMakeLists.txt.
"""

from setuptools import setup

setup()
