"""Who is told of a run's events. Each takes events and decides nothing."""
