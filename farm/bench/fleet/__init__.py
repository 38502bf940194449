"""`farm bench fleet`: a thousand simulated devices on real servers.

Postgres, Redis, the keeper with its planner, claims, renewals and publishes are those of a farm at work; only the
devices are simulated: one waits as long as it would render, and what it publishes names objects that nobody stored.
`run` enters. `calls` alone knows how a worker speaks to the farm. No room but `cli` may import this one.
"""
