"""Neural style transfer by optimization (Gatys, Ecker, Bethge, CVPR 2016)."""

ALGORITHM_VERSION = 14
"""Part of every fingerprint: raised when the same settings give another picture."""
