"""The command `farm`: the one place that prints.

A module for each group of commands, found through the table in `main` and imported when its command is given. May
import every room; nothing imports it.
"""
