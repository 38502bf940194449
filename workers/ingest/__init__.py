"""Weights of any published form become a diffusers folder of safetensors: foreign files are read here alone."""
