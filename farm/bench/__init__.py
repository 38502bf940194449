"""Measurements behind `farm bench`. They print figures; nothing here is a test.

Each runs on a scratch farm of its own. May import every room but `cli`, which enters.
"""
