"""The demo checkpoint: the little world it draws, how it is trained from scratch, and how it is judged."""
