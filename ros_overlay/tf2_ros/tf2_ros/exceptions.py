# SPDX-License-Identifier: Apache-2.0
"""Why a transform is not to be had; the names are those of the standard package."""


class TransformException(Exception):  # noqa: N818
    """Base of all errors about transforms."""


class LookupException(TransformException):
    """A frame was never heard of."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms joins them."""


class ExtrapolationException(TransformException):
    """The chain exists, but not at the time asked for."""


class InvalidArgumentException(TransformException):
    """A frame name or a transform is malformed."""


class TimeoutException(TransformException):
    """A wait ended without the transform."""
