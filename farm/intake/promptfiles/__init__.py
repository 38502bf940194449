"""Prompt files: JSON, YAML, tables, plain text and the WebUI's own lines, read into the rows of a request.

One rule: what is recognised is read whole, and what is not is refused by name, with its line and what would be
accepted. The command line and the portal enter by `read`. Nothing here knows the database.
"""
