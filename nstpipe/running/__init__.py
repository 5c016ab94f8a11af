"""Runs a plan: schedules its clips, gives them to workers and records what came of them."""
