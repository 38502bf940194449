"""The simulated devices: what one holds and does, the processes that act for many, and what these saw.

`processes` enters. They ask the farm through `farm.bench.fleet.calls` alone, and know nothing of the run around.
"""
