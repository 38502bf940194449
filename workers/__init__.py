"""Turns tasks into images: one process pinned to one device, supervised by a parent that holds no CUDA."""
