"""The planner's process: reads a snapshot of the farm, makes a plan, writes what changed of it; one keeper leads.

The plan is advice. Claims (`farm.queue.claim`) follow it while it is fresh, and choose by themselves otherwise.
"""
