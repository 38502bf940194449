"""The spec of an image: everything that decides its pixels, and the words for it.

Here stand the modes, the fields and their bounds, sizes, samplers and schedule types, the families of checkpoints,
what each setting is called here and elsewhere, and how much one request may ask for. Every room above may import
this one; it knows no database and no file, and imports nothing but `errors`.
"""
