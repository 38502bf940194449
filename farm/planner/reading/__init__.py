"""From the database to a snapshot of a pool: a few statements, each over groups, devices or owners.

Entered by the planner alone, through `snapshots`; writes nothing.
"""
