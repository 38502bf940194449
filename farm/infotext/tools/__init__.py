"""The tools whose images are read: one module for each, which turns what that tool writes into a request."""
