"""Weights in any form, opened as tensors by name: safetensors, sharded folders, and pickles in a process of their
own.

The rest of `workers.ingest` enters; what the tensors are is decided there.
"""
