"""`farm bench policy`: the real planner in virtual time: thousands of devices, hours of work.

The claim here follows seats as the real one does; nothing is rendered, and there is no database. Everything is
seeded.
"""
