"""Measuring a voice, and the pages that show it."""
