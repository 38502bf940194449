"""The device as torch computes on it: placement, precision, memory, and whether it works at all.

Every room that touches tensors may enter; nothing here loads weights.
"""
