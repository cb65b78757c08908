"""The report of a voice and the page over all voices."""
