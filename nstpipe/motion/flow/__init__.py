"""Methods of optical flow, one file each."""
