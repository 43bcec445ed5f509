"""The configuration of a training run: its sections, and how it is read."""

from dekey.config.presets import PRESETS
from dekey.config.reading import CONFIG_LIMIT, read_config
from dekey.config.sections import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    StartConfig,
    TeacherConfig,
    parse_duration,
)

__all__ = [
    "CONFIG_LIMIT",
    "PRESETS",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "RunConfig",
    "StartConfig",
    "TeacherConfig",
    "parse_duration",
    "read_config",
]
