"""What people and machines are shown of a run. Reads events, decides nothing."""
