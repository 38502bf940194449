"""Files of weights, read without torch: headers, sums, what kind of weights they hold, and the bounds of configs.

`farm.weights` and `workers.ingest` enter; nothing here knows where a file came from or what it is registered as.
"""
