"""What is offered to claims: which lines are ready, which worker suits them, and the statements that find them.

`readiness` flips the flags with what happens to a job, `corrections` is the keeper's part; `claimable` says what
may be claimed by whom, and `candidates` finds it for `farm.queue.claim`. Nothing here moves a task.
"""
