"""Videos, animations and numbered pictures: probed, decoded and encoded."""
