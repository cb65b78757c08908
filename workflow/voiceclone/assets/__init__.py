"""Pretrained models: the registry of what there is, fetching by checksum, opening what was fetched.

An asset is a folder ``resources/models/NAME`` with an ``asset.json`` that lists its files with size and sha256.
"""

from voiceclone.assets.asset import Asset, open_asset, open_assets
from voiceclone.assets.fetch import fetch_asset
from voiceclone.assets.registry import Registry, load_registry

__all__ = ["Asset", "Registry", "fetch_asset", "load_registry", "open_asset", "open_assets"]
