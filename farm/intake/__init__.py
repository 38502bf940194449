"""From what somebody submits to the rows of a job: read, completed, unfolded into specs, and stored in one
transaction.

The portal and the API enter by `submit`, whose docstring lists the steps in order. What people write for it is read
here too: prompt files, axes of sweeps, styles and wildcards (`promptfiles`, `sweeps`, `snippets`, `wildcardfiles`).
It may import all rooms below (`pictures`, `queue`, `weights`, `prompts`, `spec`); of the rooms above, `sheets`, the
client and the command line enter.
"""
