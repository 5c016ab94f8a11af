"""The page of the run: what starts and stops it, and how far it is."""
