"""`python -m tests.chaos.keeper`: `farm keeper`, but that some of its rings get lost."""

from farm.imports import uncollected

with uncollected():
    from farm.cli.main import main
    from tests.chaos.tampering import lose_rings

if __name__ == "__main__":
    lose_rings()
    main(["keeper"])
