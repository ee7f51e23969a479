# SPDX-License-Identifier: Apache-2.0
"""A keystore as `ros2 security` makes it, with the openssl command alone: for machines without the sros2 tool.

keystore/enclaves/NAME/ holds what rmw reads: identity_ca.cert.pem, permissions_ca.cert.pem, cert.pem, key.pem,
governance.p7s and permissions.p7s. Keys are made anew each time and are good for tests only.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from rclpy.expand_topic_name import expand_topic_name

GOVERNANCE = """\
<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_governance.xsd">
  <domain_access_rules>
    <domain_rule>
      <domains><id>{domain}</id></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>ENCRYPT</discovery_protection_kind>
      <liveliness_protection_kind>ENCRYPT</liveliness_protection_kind>
      <rtps_protection_kind>ENCRYPT</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>ENCRYPT</metadata_protection_kind>
          <data_protection_kind>ENCRYPT</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""
PERMISSIONS = """\
<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_permissions.xsd">
  <permissions>
    <grant name="{enclave}">
      <subject_name>CN={enclave}</subject_name>
      <validity><not_before>2020-01-01T00:00:00</not_before><not_after>2120-01-01T00:00:00</not_after></validity>
      <allow_rule>
        <domains><id>{domain}</id></domains>
        <publish><topics>{publish}</topics></publish>
        <subscribe><topics>{subscribe}</topics></subscribe>
      </allow_rule>
      <default>DENY</default>
    </grant>
  </permissions>
</dds>
"""
DISCOVERY = "ros_discovery_info"  # by which ROS nodes of all enclaves learn of each other


def dds_topics(policy: str) -> tuple[set[str], set[str]]:
    """DDS topics that a policy lets its enclave publish and subscribe to, as the sros2 tool derives them."""
    profile = ET.fromstring(policy).find("enclaves/enclave/profiles/profile")  # noqa: S314 - our own file
    assert profile is not None
    publish, subscribe = {DISCOVERY}, {DISCOVERY}
    for rules in profile:
        names = [expand_topic_name(str(rule.text), profile.attrib["node"], profile.attrib["ns"]) for rule in rules]
        replies, requests = {f"rr{name}Reply" for name in names}, {f"rq{name}Request" for name in names}
        plain = {f"rt{name}" for name in names}
        for what in rules.attrib:
            publish |= {"publish": plain, "reply": replies, "request": requests}.get(what, set())
            subscribe |= {"subscribe": plain, "reply": requests, "request": replies}.get(what, set())
    return publish, subscribe


class Keystore:
    """A certificate authority and enclaves signed by it.

    Args:
        folder: of the keystore; is made.
        domain: the only DDS domain that is allowed.
    """

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder, self.domain = folder, domain
        (folder / "enclaves").mkdir(parents=True)
        self._ca = folder / "ca.cert.pem", folder / "ca.key.pem"
        _key(self._ca[1])
        _openssl("req", "-x509", "-new", "-key", self._ca[1], "-days", "2", "-subj", "/CN=test CA", "-out", self._ca[0])
        self._signed(GOVERNANCE.format(domain=domain), folder / "governance.p7s")

    def add(self, enclave: str, publish: set[str], subscribe: set[str]) -> Path:
        """Make an enclave such as "/vl_anomaly" that may use these DDS topics; returns its folder."""
        folder = self.folder / "enclaves" / enclave.lstrip("/")
        folder.mkdir(parents=True)
        request = folder / "request.pem"
        _key(folder / "key.pem")
        subject = "/CN=" + enclave.replace("/", r"\/")
        _openssl("req", "-new", "-key", folder / "key.pem", "-subj", subject, "-out", request)
        authority = ("-CA", self._ca[0], "-CAkey", self._ca[1], "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *authority, "-days", "2", "-out", folder / "cert.pem")
        for name in ("identity_ca.cert.pem", "permissions_ca.cert.pem"):
            (folder / name).write_bytes(self._ca[0].read_bytes())
        (folder / "governance.p7s").write_bytes((self.folder / "governance.p7s").read_bytes())
        topics = {
            what: "".join(f"<topic>{name}</topic>" for name in sorted(names))
            for what, names in (("publish", publish), ("subscribe", subscribe))
        }
        text = PERMISSIONS.format(enclave=enclave, domain=self.domain, **topics)
        self._signed(text, folder / "permissions.p7s")
        return folder

    def _signed(self, text: str, out: Path) -> None:
        plain = out.with_suffix(".xml")
        plain.write_text(text)
        _openssl("smime", "-sign", "-text", "-in", plain, "-signer", self._ca[0], "-inkey", self._ca[1], "-out", out)


def _key(path: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {words[0]}: {done.stderr}"
