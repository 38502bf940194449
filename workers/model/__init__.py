"""The checkpoint on the device: its pipeline, text encoders, VAE, LoRAs and embeddings, and the files behind them.

`sampling`, `canvas` and the renderer enter. Loads and fits weights; never denoises.
"""
