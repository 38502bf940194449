"""Sweeps of settings: axes as people write them, the points they span, and the settings at each point.

`farm.intake.unfold` enters to make the images, `farm.sheets` to label the grid, the command line and the form to
read axes. Nothing here knows the database.
"""
