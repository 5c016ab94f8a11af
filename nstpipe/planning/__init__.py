"""What a run would do, and why. Imports nothing that executes it."""
