"""What is going on, as people and programs read it: listings, one job, its images, and why it waits.

`shapes` are the reports themselves, shared by API, portal and command line; the other modules query and fill them.
Reads `queue` and `weights`; changes nothing.
"""
