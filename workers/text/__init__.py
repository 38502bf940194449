"""From the words of a prompt to what the UNet is told: tokens in chunks, text encoders, conditions."""
