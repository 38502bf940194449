"""Attacks on the farm, each with what it may cost: the seconds and bytes are printed at the end of a run, and bounded."""
