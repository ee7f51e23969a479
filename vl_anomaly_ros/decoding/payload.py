# SPDX-License-Identifier: Apache-2.0
"""What every kind of message has: a stamp, bytes, and names that somebody else chose."""

from __future__ import annotations

from typing import Any

import numpy as np

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.types import ByteArray

_SHOWN = 60


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def payload(what: str, data: Any) -> ByteArray:
    """The bytes of a message as a flat uint8 array that cannot be written to, without a copy.

    Raises:
        DataError: `data` holds no bytes.
    """
    try:
        flat = np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
    except (TypeError, ValueError, BufferError):
        raise DataError(f"{what}: expected bytes, got {type(data).__name__}; the message is damaged") from None
    flat.flags.writeable = False
    return flat


def shown(text: str) -> str:
    """A name from outside as it may stand in a message to the user: quoted, and not longer than a line.

    >>> shown("rgb8")
    "'rgb8'"
    """
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
