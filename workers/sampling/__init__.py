"""From noise to latents: prompts as conditions, timesteps and sigmas, noise sources, and the loop that all modes
share.

`modes` enter. Imports `model`, `canvas` and `compute`; knows no mode.
"""
