# SPDX-License-Identifier: Apache-2.0
"""Filters between subscriptions and callbacks: history, and messages that belong to one moment."""

from message_filters.filters import Cache, SimpleFilter, Subscriber
from message_filters.synchronizers import ApproximateTimeSynchronizer, TimeSynchronizer

__all__ = ["ApproximateTimeSynchronizer", "Cache", "SimpleFilter", "Subscriber", "TimeSynchronizer"]
