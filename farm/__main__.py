"""The command `farm`, also as `python -m farm`."""

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from farm.cli.main import main

if __name__ == "__main__":
    main()
