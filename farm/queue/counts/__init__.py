"""How many tasks of each line stand where, and what their owners are charged: appended, folded, read.

`lines` changes and reads counts, `deltas` folds what claims and publishes appended, `shares` charges owners.
Entered by `lifecycle` and by the planner that folds; nothing else writes counts.
"""
