"""The machine: files, locks, memory, devices, signals."""
