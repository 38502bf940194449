"""The demo checkpoint: the little world it draws, how it is trained from scratch, and how it is judged.

Commands for developers; the farm itself has the finished weights in `farm/weights/bundled`. Nothing imports this
room.
"""
