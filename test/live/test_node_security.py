# SPDX-License-Identifier: Apache-2.0
"""The real node in an SROS 2 enclave, with no more permissions than its policy gives.

Fast DDS of the Python package index is built without security: there the secured cases are skipped, and the same steps
are taken without security, so that it is not the steps that fail where security is there.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from keystore import Keystore, dds_topics
from node_rig import ROOT, TIMEOUT_S, environment

from tools.write_policy import policy
from vl_anomaly_ros.config import Config

pytestmark = pytest.mark.live
WATCH = """
import rclpy
from lifecycle_msgs.srv import GetState
rclpy.init()
node = rclpy.create_node("watcher")
client = node.create_client(GetState, "/vl_anomaly/get_state")
assert client.wait_for_service(30.0), "no service"
done = client.call_async(GetState.Request())
rclpy.spin_until_future_complete(node, done, timeout_sec=30.0)
print("state:", done.result().current_state.label)
"""
Start = Callable[..., tuple["subprocess.Popen[bytes]", Path]]


def secured(folder: Path, enclave: str) -> dict[str, str]:
    """What makes ROS start a process in an enclave, and refuse to start it outside of one."""
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(folder),
        "ROS_SECURITY_ENCLAVE_OVERRIDE": enclave,
    }


@pytest.fixture(scope="module")
def domain() -> int:
    return random.randint(1, 100)  # noqa: S311


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory, domain: int) -> Keystore:
    """Enclaves: the node's, one that lacks a topic, and a client's that may do everything. Skips without security."""
    if shutil.which("openssl") is None:
        pytest.skip("the command openssl is not installed")
    made = Keystore(tmp_path_factory.mktemp("security") / "keystore", domain)
    publish, subscribe = dds_topics(policy(Config()))
    made.add("/vl_anomaly", publish, subscribe)
    made.add("/lacking", publish - {"rt/vl_anomaly/score"}, subscribe)
    made.add("/watcher", {"*"}, {"*"})
    probe = [sys.executable, "-c", "import rclpy; rclpy.init(); rclpy.create_node('probe')"]
    environ = environment(domain) | secured(made.folder, "/watcher")
    done = subprocess.run(probe, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if "doesn't have the security libraries" in done.stderr:
        pytest.skip("Fast DDS is built without security here (it is in a ROS installation)")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def start(node_bundle: Path, tmp_path: Path, domain: int) -> Iterator[Start]:
    """Starts the node with further environment variables; gives the process and its log."""
    with ExitStack() as ends:

        def begin(**more: str) -> tuple[subprocess.Popen[bytes], Path]:
            settings = {"engine.bundle": str(node_bundle), "engine.threads": "1", "node.autostart": "true"}
            words = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
            command = [sys.executable, "-m", "vl_anomaly_ros.node", "--ros-args", *words]
            log = tmp_path / "node.log"
            with log.open("wb") as out:
                process = subprocess.Popen(command, env=environment(domain) | more, stdout=out, stderr=out, cwd=ROOT)
            ends.callback(process.wait)
            ends.callback(process.kill)
            return process, log

        yield begin


def until_said(process: subprocess.Popen[bytes], log: Path, words: str) -> None:
    """Wait for words in the log."""
    end_s = monotonic() + TIMEOUT_S
    while words not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert monotonic() < end_s, f"{words!r} not seen\n{log.read_text()}"
        sleep(0.05)


def watched(environ: dict[str, str]) -> str:
    """What a client in its own process learns of the node's state."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH], env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    return done.stdout.strip() or done.stderr


def test_without_security_the_same_steps_lead_to_an_active_node(start: Start, domain: int) -> None:
    process, log = start()
    until_said(process, log, "configured: ")
    assert watched(environment(domain)) == "state: active", log.read_text()


def test_the_node_is_active_with_no_more_permissions_than_its_policy_gives(
    start: Start, keystore: Keystore, domain: int
) -> None:
    process, log = start(**secured(keystore.folder, "/vl_anomaly"))
    until_said(process, log, "configured: ")
    assert watched(environment(domain) | secured(keystore.folder, "/watcher")) == "state: active", log.read_text()
    assert "no service" in watched(environment(domain)), "a client without a certificate is not answered"


def test_a_topic_that_is_not_permitted_is_not_opened(start: Start, keystore: Keystore) -> None:
    process, log = start(**secured(keystore.folder, "/lacking"))
    until_said(process, log, "autostart: not configured")
    assert "configured: " not in log.read_text()
