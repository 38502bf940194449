"""The housekeeping: expires leases, rings for forgotten work, deletes what is past its time or belongs to nothing.

Run by `farm keeper`, in rounds that may be cut at any point and done again. May import every room below; nothing
imports it but the command line.
"""
