"""The workers as the queue sees them: who is there, who is kept from what, and what did not fit into whose memory.

`farm.queue` and the rooms above it enter. The workers themselves register and beat through `fleet`; nothing here
moves a task.
"""
