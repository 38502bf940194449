"""How files of prompts, styles and wildcards are read: bytes into text, text into rows, a module a format.

One rule: what is recognised is read whole, and what is not is refused by name, with its line and what would be
accepted. Nothing here knows the database; `farm.promptfile`, `farm.prompts.styles` and `farm.wildcardfiles` use it.
"""
