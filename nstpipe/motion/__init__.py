"""What moves between frames: shots, optical flow, and where it can be trusted."""
