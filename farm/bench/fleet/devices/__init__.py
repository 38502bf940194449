"""The simulated devices: what one holds and does, and the processes that act for many.

`processes` enters. They ask the farm through `farm.bench.fleet.calls` alone, and know nothing of the run around.
"""
