"""The prompt language: attention, schedules, composition, tags, styles and wildcards as AUTOMATIC1111's WebUI reads
them.

Texts go in, plans and warnings come out; the names that a prompt may use are handed in. `intake` unfolds prompts
here when a job is submitted, and workers plan them here again when they render. No database, no files.
"""
