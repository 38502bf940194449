"""PostgreSQL and Redis from wheels, and the processes of a whole farm, run privately on one machine.

`farm up` and `bench` enter by `machine`. It starts portal, keeper and workers as programs, and imports none of
them.
"""
