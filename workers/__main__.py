"""`python -m workers`: see `workers.main`."""

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from workers.main import main

if __name__ == "__main__":
    main()
