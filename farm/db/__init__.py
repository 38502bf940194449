"""Postgres: the tables, connections to it, the migration to this release, the record of events, and its locks.

The rooms that keep something there (`weights`, `queue`, `reports`, `pictures`, `intake`, `sheets`, `upkeep`) enter;
`web` and `workers` never import the tables. Nothing here decides anything about jobs.
"""
