"""Yardsticks that need more than `farm bench` may import: another farm to compare with, and a former release.

`python -m tests.bench` runs them; the suite runs small ones, and gates on what they render and never on time.
"""
