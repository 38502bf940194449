"""The tables as Python sees them, a module for each noun.

Migrations create the tables; constraints and indexes stand there. Only `farm` reads and writes tables: the
portal and the workers call functions of `farm` instead. A module imports those whose tables its own refer to,
so that each works by itself; `schema` has them all.
"""
