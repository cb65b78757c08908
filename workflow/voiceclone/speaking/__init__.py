"""Speaking: bundles and models, sampling, splitting, reference clips, the detector. Bundles need no torch."""
