"""From what somebody submits to the rows of a job: read, completed, unfolded into specs, and stored in one
transaction.

The portal and the API enter by `submit`, whose docstring lists the steps in order, each a module of this room. It
may import everything below (`pictures`, `queue`, `weights`, `prompts`, `spec`); nothing below imports it.
"""
