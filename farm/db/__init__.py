"""Postgres: the tables, connections to it, the migration to this release, the record of events, and its locks.

The rooms that keep something there enter: `weights`, `queue`, `reports`, `pictures`, `intake`, `sheets`, `upkeep`,
`accounts`. `web` and `workers` open connections here and never import the tables. Nothing here decides about jobs.
"""
