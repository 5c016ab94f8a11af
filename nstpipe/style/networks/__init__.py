"""The networks that paint a frame in one pass: their layers, their files, and how they are applied to a frame."""
