"""`farm bench policy`: the real planner in virtual time, thousands of devices and hours of work in seconds or minutes.

The claim here follows seats as the real one does; nothing is rendered, and there is no database. Everything is seeded.
"""
