"""How the farm reaches other machines: addresses, proxies, which addresses are public, and where a farm runs.

Downloads of weights, pictures by address, the client of the portal and the settings enter here. Nothing here knows
what is fetched.
"""
