"""Weights from hubs and web addresses: what a source points to, and how its files are downloaded completely."""
