"""Weights of any published form become a diffusers folder of safetensors: foreign files are read here alone.

Runs as a process of its own that shuts itself in first (`run`), started by `farm.weights.ingest`; request and
answer are JSON. It may import `farm.weights.files` and `farm.spec`, never the database or the store.
"""
