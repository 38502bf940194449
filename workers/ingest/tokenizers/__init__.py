"""Tokenizers of a checkpoint: written from a folder's own vocabulary, or from one found on this machine."""
