"""Who gets what, and how it ends: the states of jobs and tasks, claims and leases, and the workers that hold them.

`lifecycle` alone moves a task or job from one state to another; `claim` hands out what `offers` finds, `endings`
and `losses` take it back, `steering` is what people do with a job, `doorbell` is the ring over Celery, `workers` is
who is there.
Portal, workers and keeper all enter here; it may import `weights`, `db` and what lies below, and knows no request,
picture or page.
"""
