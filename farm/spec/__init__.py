"""The spec of an image: everything that decides its pixels, and the words for it.

Here stand the modes, the fields and their bounds, samplers and schedule types, and the families of checkpoints.
Every other room may import this one; it knows no database, no file and no text of other programs, and imports
nothing but `errors`.
"""
