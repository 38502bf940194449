"""Checkpoints, VAEs, embeddings and LoRAs: how they come here, what is known of each, and under which names.

`checkpoints` and `addons` are the registers, `add` is the way in, `hub` brings files from elsewhere and `files`
reads what stands in them without torch. Tensors are read by `workers.ingest` alone, in a process that is shut in.
Knows nothing of jobs: `queue` and all above it may enter.
"""
