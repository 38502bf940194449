"""Alembic migrations of the farm's database."""
