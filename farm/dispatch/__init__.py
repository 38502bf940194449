"""Dispatch: who gets what, as a pure function from what is known to a plan.

`plan(snapshot, now)` seats each device of a pool on a group of tasks that may share a pipeline call, says what
its host should read next, and says for all that waits why it waits and when it may start. Everything here is a
frozen value or a function of such values: no session, no clock, no log and no setting of its own. The caller
reads the snapshot and writes the plan; the claim takes the plan as advice. Rooms above `spec` may import this
one; it imports nothing but `spec`.
"""
