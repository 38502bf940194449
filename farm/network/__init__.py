"""How the farm reaches other machines: through which proxies, and which addresses are public.

Downloads of weights, pictures by address and the client of the portal enter here. Nothing here knows what is
fetched.
"""
