"""Weights from elsewhere: where a source points to, and how its files come here whole.

`farm.weights` enters. Hugging Face, Civitai and plain addresses are one module each over one `transport`; nothing
here registers anything.
"""
