"""Where results come from: revisions, fingerprints, caches, runs, provenance."""
