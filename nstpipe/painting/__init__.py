"""Paints the frames of a clip, and encodes them: where media, motion and style meet."""
