"""The whole schema, for those who need all tables at once: migrations, and whatever compares or empties them."""

from farm.db.tables import accounts, artifacts, dispatch, jobs, snippets, weights, workers
from farm.db.tables.base import Base

MODULES = (accounts, artifacts, dispatch, jobs, snippets, weights, workers)
"""Each adds its tables to METADATA when it is imported."""

METADATA = Base.metadata
