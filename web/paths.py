"""What addresses may hold; both the API and the pages use these."""

MAX_ID = 2**63 - 1
MAX_SEQ = 2**31 - 1

JOB_PATH = f"/jobs/<int(max={MAX_ID}):job_id>"
"""An id beyond what Postgres can count is simply not found."""
