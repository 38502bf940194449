"""`python -m tests.chaos.portal`: `farm web`, but that some of its rings get lost."""

import sys

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from tests.chaos.tampering import lose_rings
    from web.server import main

if __name__ == "__main__":
    lose_rings()
    sys.exit(main())
