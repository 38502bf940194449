"""`python -m tests.chaos.worker`: `farm worker`, but that its children render with the null renderer."""

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from tests.chaos.tampering import tamper
    from workers.main import main

if __name__ == "__main__":
    tamper()
    main("tests.chaos.child")
