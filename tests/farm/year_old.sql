-- What a year leaves behind: owners that idled, jobs that ended, some that never began, a lease that nobody
-- renewed, workers long gone with what they lost, exclusions, memory limits and events.

INSERT INTO users (name, gpu_seconds, gpu_seconds_at, created_at)
SELECT 'owner-' || n, n * 1e3, now() - interval '1 year' * (n % 3), now() - interval '2 years'
FROM generate_series(1, 10000) n;

INSERT INTO workers (name, host, pid, device, device_name, pool, status, version, started_at, last_seen_at)
SELECT 'old-' || n || '/cuda:0', 'old-' || n, n, 'cuda:0', 'a card', 'default',
       CASE WHEN n % 50 = 0 THEN 'busy' ELSE 'offline' END, '0.1.0',
       now() - interval '2 years', now() - interval '1 year'
FROM generate_series(1, 1000) n;

INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256, created_at, finished_at)
SELECT id, 'old', 'txt2img', '{"prompts": [{"prompt": "a fox"}]}', CASE WHEN id % 5 = 0 THEN 'active' ELSE 'succeeded' END,
       50, 'default', '', now() - interval '1 year', CASE WHEN id % 5 <> 0 THEN now() - interval '364 days' END
FROM users WHERE name LIKE 'owner-%';

INSERT INTO tasks (job_id, seq, status, batch_key, spec, attempt, attempt_limit, worker_id)
SELECT j.id, 0, CASE WHEN j.status = 'active' THEN 'queued' ELSE 'succeeded' END, 'old', '{"mode": "txt2img",
       "checkpoint": "demo", "prompt": "a fox", "seed": 1}', CASE WHEN j.status = 'active' THEN 0 ELSE 1 END, 3,
       CASE WHEN j.status = 'active' THEN NULL ELSE (SELECT min(id) FROM workers) END
FROM jobs j;

INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, queued, succeeded)
SELECT id, 'old', owner_id, (SELECT min(id) FROM checkpoints), pool, priority, true,
       (status = 'active')::int, (status <> 'active')::int
FROM jobs;

INSERT INTO attempts (task_id, number, worker_id, outcome, gpu_seconds, started_at, ended_at)
SELECT t.id, 1, worker_id, 'succeeded', 1, now() - interval '365 days', now() - interval '364 days'
FROM tasks t WHERE status = 'succeeded';

INSERT INTO exclusions (worker_name, checkpoint_id, reason, created_at)
SELECT 'old-' || n || '/cuda:0', (SELECT min(id) FROM checkpoints), 'torn', now() - interval '1 year'
FROM generate_series(1, 100) n;
INSERT INTO memory_limits (worker_name, family, pixels, reason, created_at)
SELECT 'old-' || n || '/cuda:0', 'sd15', 4096, 'too small', now() - interval '1 year' FROM generate_series(1, 100) n;
INSERT INTO events (kind, job_id, created_at) SELECT 'job.submitted', id, created_at FROM jobs;

UPDATE tasks SET status = 'running', attempt = 1, lease_until = now() - interval '1 year',
       worker_id = (SELECT max(id) FROM workers) WHERE id = (SELECT min(id) FROM tasks WHERE status = 'queued');
INSERT INTO attempts (task_id, number, worker_id, outcome, started_at)
SELECT id, 1, worker_id, 'running', now() - interval '1 year' FROM tasks WHERE status = 'running';
UPDATE counters SET queued = 0, running = 1 WHERE job_id = (SELECT job_id FROM tasks WHERE status = 'running');
