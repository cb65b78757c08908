"""The configuration: pydantic models, one per block, are the one truth of keys, defaults and ranges."""
