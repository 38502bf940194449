"""`python -m workers.ingest REQUEST.json`: see `workers.ingest.run`."""

import sys
from pathlib import Path

from workers.ingest.run import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
