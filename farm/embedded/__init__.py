"""PostgreSQL and Redis from wheels, run privately for a farm on one machine."""
