"""Numbers of the source-filter synthesis, which torch (training) and numpy (speaking) share.

:mod:`voiceclone.models.vocoder` and :mod:`voiceclone.inference.source_filter` have the two.
"""

from __future__ import annotations

#: Name of the decoder in architectures and bundles.
SOURCE_FILTER = "source_filter"
#: Frames of the filter per frame of the latent.
UPSAMPLING = 2
#: Hops in a window of the filter.
OVERLAP = 4
#: What the periodic Hann window, squared and overlapped so often, adds up to.
WINDOW_SUM = 1.5
#: Frames by which the filter is continued before and after the utterance, so that each sample lies under all windows.
LEAD, TRAIL = 1, 2
#: Frames by which the source is continued on either side: those, and half a window.
MARGIN = LEAD + OVERLAP // 2
#: Natural logarithms of the F0 in Hz that is predicted (60 to 545), and of the one that is spoken (30 to 1,100).
LOG_F0_RANGE, SPOKEN_RANGE = (4.1, 6.3), (3.4, 7.0)
#: What graphs leave out of log F0 (164 Hz): the rest is exact to half a cent in half precision, the whole to four.
LOG_F0_CENTRE = 5.1
#: Largest logarithm of a magnitude of the filter.
LOG_MAGNITUDE_LIMIT = 5.0
#: Pulses have harmonics up to this share of the sample rate.
BAND = 0.47
#: Sines of half the phase below which the closed form of the pulses is replaced by its limit.
NEAR = 1e-4
