"""The planner's process: reads a snapshot of a pool, makes a plan, writes what changed of it; one keeper leads.

The plan is advice. Claims (`farm.queue.claim`) follow it while it is fresh, and choose by themselves otherwise. It
also learns from what was published how long rendering and loading take, and compares estimates with what came.
Entered by `farm.upkeep` alone; it may import `reports`, `queue` and what lies below them, and decides nothing by
itself: that is `farm.dispatch`.
"""
