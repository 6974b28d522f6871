"""The configuration of a sweep: one YAML file, one frozen model, all problems at once."""

from sweeps.config.errors import ConfigError
from sweeps.config.loading import load_config
from sweeps.config.sweep import Arm, SweepConfig

__all__ = ["Arm", "ConfigError", "SweepConfig", "load_config"]
