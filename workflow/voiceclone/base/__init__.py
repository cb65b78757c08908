"""The base voice: many speakers' corpus gathered, the trained networks packed, held against gates, described."""
