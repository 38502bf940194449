"""The child of `tests.chaos.worker`."""

from farm.imports import pause_garbage_collection

with pause_garbage_collection():
    from tests.chaos.null_renderer import open_null
    from tests.chaos.tampering import tamper
    from workers.child import run

if __name__ == "__main__":
    tamper()
    run(open_null)
