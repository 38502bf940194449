"""Attacks on the farm, each with what it may cost: seconds and bytes are printed after a run, and bounded."""
