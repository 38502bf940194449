"""Checkpoints, VAEs, embeddings and LoRAs: how they come here, what is known of each, and under which names.

`checkpoints` and `addons` are the registers, `add` is the way in, `hub` brings files from elsewhere, `files` reads
what stands in them without torch, and `lookup` finds what a request means by a name. Tensors are read by
`workers.ingest` alone, in a process that is shut in. `queue` and all rooms above it may enter.
"""
