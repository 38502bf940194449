"""Workers behind a pooler. Run by `make pgbouncer`: the suite does not ask everybody to install one."""
