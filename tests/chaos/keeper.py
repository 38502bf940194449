"""`python -m tests.chaos.keeper`: `farm keeper`, but that some of its rings get lost."""

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from farm.cli.main import main
    from tests.chaos.tampering import lose_rings

if __name__ == "__main__":
    lose_rings()
    main(["keeper"])
