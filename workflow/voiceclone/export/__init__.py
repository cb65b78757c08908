"""Bundles: graphs, their parity with the trained models, digests."""
