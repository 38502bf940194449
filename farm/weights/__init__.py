"""Weights as files: what they hold, whether they can be trusted, and where they are kept."""
