"""The programs that the farm starts, and how far a process is shut in before it reads what strangers made.

Code that starts a program asks `programs` for its command, so that none comes from the current folder; a process
that decodes pictures or reads weights shuts itself in by `confinement`. Any room may enter; nothing here knows
jobs, pictures or weights.
"""
