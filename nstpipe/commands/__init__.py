"""What single commands do, apart from running a pipeline: preview, doctor, schedule, scaffold and metrics."""
