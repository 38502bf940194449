"""Every advisory lock that the farm takes in Postgres: its number, what it guards, and the order of two.

A session that holds one and asks for another takes them in the order in which they stand here. A session that
only tries for a lock waits for nobody and may do so at any point.
"""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """The first or only number of each lock. Older releases on the same database use the same: none changes."""

    MIGRATION = 7214
    """The tables, while one process migrates them; others wait. No other lock is held meanwhile."""

    SWEEP = 7215
    """The store, while one cleaner deletes its orphans; others pass by. WEIGHTS is tried for under it."""

    GRIDS = 7217
    """The objects of grids, while one process draws them; others pass by."""

    PLAN = 7219
    """The plan, while one keeper leads; others wait to take over. No other lock is asked for under it."""

    OBJECT = 7216
    """One object that Postgres and the store change together. A namespace: the second number is the key's hash."""

    WEIGHTS = 7218
    """The objects of weights: shared by those that add some, held alone to delete some."""

    NAME = 0x6E616D65
    """One name of weights until its row is committed. A namespace: the second number is the name's checksum.

    Taken under WEIGHTS, by those that add.
    """
