"""From noise to latents: prompts as conditioning, timesteps and sigmas, noise sources, and the loop that all modes
share.

The modes and the renderer enter. Imports `model`, `canvas` and `compute`; knows no mode.
"""
