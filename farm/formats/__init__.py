"""Formats of text that people and programs write: tables, YAML, JSON, and the encodings below them.

Each reader is strict and names the line where it stops. What the texts mean is decided elsewhere (`farm.prompts`,
`farm.intake.promptfiles`): nothing here knows prompts or requests.
"""
