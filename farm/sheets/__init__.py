"""Pictures of many images: the labelled grids of sweeps, and contact sheets.

`grids` draws what is due and stores it; `layout` and `contact` are Pillow alone. The keeper and the command line
enter.
"""
