"""`python -m web`: serve the portal until told to stop."""

import sys

from farm.imports import uncollected

with uncollected():
    from web.server import main

if __name__ == "__main__":
    sys.exit(main())
