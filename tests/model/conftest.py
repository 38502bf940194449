"""How long the model is tried: briefly with every test run, for minutes with `make model`."""

from hypothesis import settings

settings.register_profile("model", max_examples=500, stateful_step_count=60, derandomize=False)
