"""Weights as files: what they contain, whether they can be trusted, and where they are stored."""
