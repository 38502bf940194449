"""Who gets what: the policy of dispatch, as pure functions from frozen snapshots to frozen plans.

It knows no database, clock or settings: `farm.planner` reads a snapshot and carries a plan out, `farm bench policy`
runs the same functions in virtual time.
"""
