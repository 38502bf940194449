"""What is measured: how long rendering and loading take, and how good estimates were.

Entered by the planner alone.
"""
