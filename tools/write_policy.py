# SPDX-License-Identifier: Apache-2.0
r"""Writes the SROS 2 policy of the node: what it publishes, subscribes to and serves, and nothing else.

python tools/write_policy.py                              config/security/vl_anomaly.policy.xml, for the defaults
python tools/write_policy.py --cameras front,left --namespace /perception \
    --remap points:=/lidar/points --out my.policy.xml     for a vehicle; --config FILE and --set as everywhere

The topics are those of `node/topics.py` and `node/publishers.py`, so run it where rclpy and the messages are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.node.publishers import topics
from vl_anomaly_ros.node.topics import subscriptions
from vl_anomaly_ros.options import add_setting_arguments, config_from

TARGET = Path(__file__).resolve().parents[1] / "config" / "security" / "vl_anomaly.policy.xml"
NODE = "vl_anomaly"
SERVICES = ("enable", "get_vocabulary", "set_vocabulary")
LIFECYCLE_SERVICES = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
TYPE_SERVICES = ("get_type_description",)  # Jazzy and later
LIFECYCLE_TOPIC = "transition_event"


def published(config: Config) -> list[str]:
    """Topics that the node publishes, as ROS expands them: `~` is the node, no slash its namespace."""
    own = [f"~/{topic}" for topic in (*topics(config.node.cameras), LIFECYCLE_TOPIC)]
    return [*sorted(own), "/diagnostics", "/parameter_events", "/rosout"]


def subscribed(config: Config) -> list[str]:
    """Topics that the node subscribes to; `/clock` only where `use_sim_time` is set."""
    return [*sorted(subscriptions(config)), "/clock"]


def served() -> list[str]:
    """Services of the node."""
    return [f"~/{name}" for name in sorted((*SERVICES, *LIFECYCLE_SERVICES, *PARAMETER_SERVICES, *TYPE_SERVICES))]


def policy(
    config: Config, namespace: str = "/", enclave: str = f"/{NODE}", remap: Mapping[str, str] | None = None
) -> str:
    """The policy file.

    Args:
        config: settings of the node; cameras, transport and `node.points` decide about topics.
        namespace: of the node.
        enclave: that the node is started in.
        remap: names of topics as the node has them, with the names that they are remapped to.
    """
    remap = remap or {}
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<!-- Written by tools/write_policy.py. How to use it: docs/security.md. -->",
        '<policy version="0.2.0">',
        "  <enclaves>",
        f"    <enclave path={quoteattr(enclave)}>",
        "      <profiles>",
        f"        <profile ns={quoteattr(namespace)} node={quoteattr(NODE)}>",
        *_rules("topics", "publish", published(config), remap),
        *_rules("topics", "subscribe", subscribed(config), remap),
        *_rules("services", "reply", served(), remap),
        "        </profile>",
        "      </profiles>",
        "    </enclave>",
        "  </enclaves>",
        "</policy>",
    ]
    return "\n".join(lines) + "\n"


def _rules(kind: str, what: str, names: Iterable[str], remap: Mapping[str, str]) -> list[str]:
    item = kind[:-1]
    inner = [f"            <{item}>{escape(remap.get(name, name))}</{item}>" for name in names]
    return [f'          <{kind} {what}="ALLOW">', *inner, f"          </{kind}>"]


def main(words: list[str] | None = None) -> int:
    """Write the file that the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_setting_arguments(parser)
    parser.add_argument("--cameras", metavar="NAME,NAME", help="names of the cameras; as --set node.cameras=[...]")
    parser.add_argument("--namespace", default="/", help="namespace of the node (default: /)")
    parser.add_argument("--enclave", default=f"/{NODE}", help=f"enclave of the node (default: /{NODE})")
    parser.add_argument("--remap", metavar="FROM:=TO", action="append", default=[], help="as the node is started")
    parser.add_argument("--out", metavar="FILE", type=Path, default=TARGET, help=f"default: {TARGET.name} in config/")
    args = parser.parse_args(words)
    if not args.namespace.startswith("/") or not args.enclave.startswith("/"):
        parser.error("--namespace and --enclave: expected a name that begins with /")
    remap = dict(pair.split(":=", 1) for pair in args.remap if ":=" in pair)
    if len(remap) != len(args.remap):
        parser.error("--remap: expected FROM:=TO")
    try:
        config = config_from(args)
        if args.cameras:
            config = with_values(config, {"node.cameras": args.cameras.split(",")})
    except ConfigError as error:
        parser.error(str(error))
    if unknown := sorted(set(remap) - {*published(config), *subscribed(config), *served()}):
        parser.error(f"--remap {unknown[0]}: no such topic or service of the node")
    args.out.write_text(policy(config, args.namespace, args.enclave, remap), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
