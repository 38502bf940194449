"""The page that submits a job: its form, what it offers, how it is filled again, and the request it makes.

`page` has the views. The request goes to `farm.intake`, as the API's does.
"""
