# SPDX-License-Identifier: Apache-2.0
"""One error type per layer. A message says what was expected, what came, and what to do."""


class VlAnomalyError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(VlAnomalyError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(VlAnomalyError):
    """A value that crosses a layer (a frame, an image, a cloud) has the wrong shape, type or content."""


class VocabularyError(VlAnomalyError):
    """A vocabulary cannot be used."""


class BundleError(VlAnomalyError):
    """A bundle is incomplete, altered or of another version."""


class EngineError(VlAnomalyError):
    """The inference engine failed."""


class GeometryError(VlAnomalyError):
    """A calibration or transform cannot be used."""


class ReplayError(VlAnomalyError):
    """A recording cannot be read or its results cannot be written."""


class EvaluationError(VlAnomalyError):
    """A data set or metric input cannot be used."""


class SimulationError(VlAnomalyError):
    """The simulated world cannot be built or rendered."""


class TrainingError(VlAnomalyError):
    """Training or export cannot go on."""
