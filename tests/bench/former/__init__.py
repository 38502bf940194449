"""A former release at work beside this one, on one database: its own code, taken from the repository's history.

`hand` runs under the former release, in a process of its own; all else runs under this one.
"""
