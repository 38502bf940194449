"""`python -m web`: serve the portal until it is stopped."""

import sys

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from web.server import main

if __name__ == "__main__":
    sys.exit(main())
