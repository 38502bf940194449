"""The loop of one device: claim, render, hand over, repeat; with the leases, the spool and the deliveries around
it.

It knows pixels and leases, but neither torch nor diffusers: what renders stands behind the protocol of
`workers.renderer`. `workers.child` enters; the parent looks into the spool of a child that is gone.
"""
