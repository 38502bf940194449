"""`python -m workers`: see `workers.main`."""

from farm.imports import uncollected

with uncollected():
    from workers.main import main

if __name__ == "__main__":
    main()
