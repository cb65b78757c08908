"""The configuration: pydantic models, one module per block, are the one truth of keys, defaults and ranges."""

from voiceclone.config.config import Config
from voiceclone.config.load import load_config, resolve, validate

__all__ = ["Config", "load_config", "resolve", "validate"]
