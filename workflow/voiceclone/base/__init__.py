"""The base voice: many speakers' corpus gathered, the trained networks packed, measured against gates, described."""
