"""The parent process of the workers on a machine: it finds devices, supervises a child on each, and answers the
bell.

It never imports torch, so that a driver that hangs or crashes takes a child alone. `workers.main` enters, and the
child for the sign of life that it sends.
"""
