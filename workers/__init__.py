"""Turns tasks into images: one process pinned to one device, supervised by a parent that holds no CUDA.

Only this package imports torch, so what torch's threads must find in the environment is settled here, before any
module of it can. It is the one thing that an import does.
"""

import os

# OpenMP's threads wait for each other many times a step, and left alone they spin for milliseconds meanwhile:
# beside one other busy process each wait lasts until the kernel takes the core from who spins. `farm bench
# threads` measures it.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
