"""Pictures before and after the denoising: sizes, masks, tiles, and the plan of an outpainting. No checkpoint is
needed.

`modes` and `sampling` enter; nothing here imports `model`, except to read an input's bytes, or `sampling`.
"""
