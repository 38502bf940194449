"""From the text of a prompt to its conditioning: tokens in chunks, and the hidden states of text encoders."""
