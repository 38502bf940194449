"""`python -m workers`: see `workers.main`."""

from workers.main import main

main()
