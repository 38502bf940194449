-- A farm in use, at revision 0007 of the schema: what a release of that time left in its database, with jobs of every
-- kind and workers of every state. Times are relative, so that leases are live or ended when this is loaded.
--
-- job                                                                  queued  running  done
--   1  ada, active                                                        3       2      1 succeeded
--   2  ben, active, priority 80, project posters, of two batch keys       4
--   3  ada, paused                                                        3
--   4  ben, active, not before an hour from now                           2
--   5  ben, active, deadline in an hour                                   2
--   6  ada, active; a worker fell silent: a lease that has ended, and
--      a task that lost its worker before, to be run alone                1       1
--   7  ada, succeeded                                                                    2 succeeded
--   8  ben, failed                                                                       1 succeeded, 1 failed
--   9  ben, cancelled                                                                    2 cancelled
--  10  ben, active, deterministic: at most one image a batch              2
--  11  ada, paused while an image is rendered                             1       1
--  12  ada, active, in a pool without workers                             1
--  13  ben, active, its deadline has passed                               1

INSERT INTO users (id, name, gpu_seconds, gpu_seconds_at) VALUES (2, 'ada', 135, now()), (3, 'ben', 45, now());
INSERT INTO api_keys (user_id, prefix, sha256) VALUES (2, '0a1b2c3d', sha256('a key'));
INSERT INTO projects (id, name) VALUES (1, 'posters');

INSERT INTO checkpoints (id, name, family, sha256, location) VALUES
    (1, 'demo', 'sd15', repeat('a', 64), '/nowhere/demo'),
    (2, 'photo', 'sdxl', repeat('c', 64), '/nowhere/photo');

INSERT INTO workers (id, name, host, pid, device, device_name, pool, status, checkpoint_id, version, last_seen_at) VALUES
    (1, 'old/0', 'old', 100, '0', 'test device', 'default', 'busy', 1, '0.1.0', now()),
    (2, 'old/1', 'old', 100, '1', 'test device', 'default', 'drained', NULL, '0.1.0', now()),
    (3, 'silent/0', 'silent', 100, '0', 'test device', 'default', 'busy', 1, '0.1.0', now() - interval '10 minutes'),
    (4, 'gone/cpu', 'gone', 100, 'cpu', 'test device', 'default', 'offline', NULL, '0.1.0', now() - interval '1 day');
INSERT INTO exclusions (worker_name, checkpoint_id, reason) VALUES
    ('old/1', NULL, 'drained by ada'),
    ('gone/cpu', 2, 'its weights are torn there');
INSERT INTO memory_limits (worker_name, family, pixels, reason) VALUES ('gone/cpu', 'sdxl', 1048576, 'it did not fit');

INSERT INTO jobs (id, owner_id, project_id, name, mode, request, status, reason, priority, pool, not_before, deadline,
    idempotency_key, request_sha256, finished_at)
SELECT id, owner_id, project_id, 'job ' || id, 'txt2img',
    '{"prompts": ["a lighthouse"], "checkpoint": "demo", "width": 64, "height": 64, "num_inference_steps": 4}',
    status, reason, priority, pool, now() + starts_in, now() + ends_in, key, repeat('d', 64),
    CASE WHEN status IN ('succeeded', 'failed', 'cancelled') THEN now() - interval '1 hour' END
FROM (VALUES
    ( 1, 2, NULL::int, 'active',    NULL,                      50, 'default', NULL::interval, NULL::interval, NULL),
    ( 2, 3, 1,         'active',    NULL,                      80, 'default', NULL,           NULL,           'once'),
    ( 3, 2, NULL,      'paused',    NULL,                      90, 'default', NULL,           NULL,           NULL),
    ( 4, 3, NULL,      'active',    NULL,                      90, 'default', '1 hour',       NULL,           NULL),
    ( 5, 3, NULL,      'active',    NULL,                      50, 'default', NULL,           '1 hour',       NULL),
    ( 6, 2, NULL,      'active',    NULL,                      50, 'default', NULL,           NULL,           NULL),
    ( 7, 2, NULL,      'succeeded', NULL,                      50, 'default', NULL,           NULL,           NULL),
    ( 8, 3, NULL,      'failed',    '1 of its images failed',  50, 'default', NULL,           NULL,           NULL),
    ( 9, 3, NULL,      'cancelled', 'cancelled by hand',       50, 'default', NULL,           NULL,           NULL),
    (10, 3, NULL,      'active',    NULL,                      50, 'default', NULL,           NULL,           NULL),
    (11, 2, NULL,      'paused',    NULL,                      50, 'default', NULL,           NULL,           NULL),
    (12, 2, NULL,      'active',    NULL,                      50, 'gpu',     NULL,           NULL,           NULL),
    (13, 3, NULL,      'active',    NULL,                      50, 'default', NULL,           '-1 minute',    NULL)
) AS job (id, owner_id, project_id, status, reason, priority, pool, starts_in, ends_in, key);

-- One row for tasks that are alike: how many, and how each of them stands.
CREATE TEMPORARY TABLE alike (
    job_id bigint, batch_key text, count int, status text, attempt int, worker_id bigint, lease interval,
    losses int, reason text
);
INSERT INTO alike VALUES
    (1, 'demo 64x64', 1, 'succeeded', 1, 1, NULL, 0, NULL),
    (1, 'demo 64x64', 2, 'running', 1, 1, '30 seconds', 0, NULL),
    (1, 'demo 64x64', 3, 'queued', 0, NULL, NULL, 0, NULL),
    (2, 'demo 64x64', 2, 'queued', 0, NULL, NULL, 0, NULL),
    (2, 'photo 64x64', 2, 'queued', 0, NULL, NULL, 0, NULL),
    (3, 'demo 64x64', 3, 'queued', 0, NULL, NULL, 0, NULL),
    (4, 'demo 64x64', 2, 'queued', 0, NULL, NULL, 0, NULL),
    (5, 'demo 64x64', 2, 'queued', 0, NULL, NULL, 0, NULL),
    (6, 'demo 64x64', 1, 'running', 1, 3, '-9 minutes', 0, NULL),
    (6, 'demo 64x64', 1, 'queued', 1, 3, NULL, 1, 'the lease ended without a word from the worker'),
    (7, 'demo 64x64', 2, 'succeeded', 1, 4, NULL, 0, NULL),
    (8, 'demo 64x64', 1, 'succeeded', 1, 4, NULL, 0, NULL),
    (8, 'demo 64x64', 1, 'failed', 3, 4, NULL, 0, 'the device broke'),
    (9, 'demo 64x64', 2, 'cancelled', 0, NULL, NULL, 0, 'cancelled by hand'),
    (10, 'demo 64x64 alone', 2, 'queued', 0, NULL, NULL, 0, NULL),
    (11, 'demo 64x64', 1, 'running', 1, 1, '30 seconds', 0, NULL),
    (11, 'demo 64x64', 1, 'queued', 0, NULL, NULL, 0, NULL),
    (12, 'demo 64x64', 1, 'queued', 0, NULL, NULL, 0, NULL),
    (13, 'demo 64x64', 1, 'queued', 0, NULL, NULL, 0, NULL);

INSERT INTO tasks (id, job_id, seq, status, reason, batch_key, spec, attempt, attempt_limit, runs_alone, worker_id,
    lease_until, losses)
SELECT row_number() OVER in_order, job_id, row_number() OVER (PARTITION BY job_id ORDER BY a.ctid, n) - 1, status, reason,
    batch_key,
    jsonb_build_object('mode', 'txt2img', 'checkpoint', split_part(batch_key, ' ', 1), 'prompt', 'a lighthouse',
        'width', 64, 'height', 64, 'num_inference_steps', 4, 'seed', row_number() OVER in_order),
    attempt, 3 + losses, losses > 0, worker_id, now() + lease, losses
FROM alike a CROSS JOIN generate_series(1, count) n WINDOW in_order AS (ORDER BY job_id, a.ctid, n);

INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, not_before, is_open, batch_limit, pixels,
    queued, running, succeeded, failed, cancelled)
SELECT t.job_id, t.batch_key, j.owner_id, k.id, j.pool, j.priority, j.not_before, j.status <> 'paused',
    CASE WHEN t.batch_key LIKE '% alone' THEN 1 END, 64 * 64,
    count(*) FILTER (WHERE t.status = 'queued'), count(*) FILTER (WHERE t.status = 'running'),
    count(*) FILTER (WHERE t.status = 'succeeded'), count(*) FILTER (WHERE t.status = 'failed'),
    count(*) FILTER (WHERE t.status = 'cancelled')
FROM tasks t JOIN jobs j ON j.id = t.job_id JOIN checkpoints k ON k.name = t.spec->>'checkpoint'
GROUP BY t.job_id, t.batch_key, j.id, k.id;

INSERT INTO attempts (task_id, number, worker_id, outcome, error, batch_size, gpu_seconds, timings, ended_at)
SELECT t.id, n, t.worker_id,
    CASE WHEN t.status IN ('running', 'succeeded', 'failed') THEN t.status ELSE 'lost' END, t.reason, 1,
    CASE WHEN t.status <> 'running' THEN 0.5 END,
    CASE WHEN t.status = 'succeeded' THEN '{"load": 0.1, "render": 0.4}'::jsonb END,
    CASE WHEN t.status <> 'running' THEN now() END
FROM tasks t CROSS JOIN generate_series(1, t.attempt) n;

INSERT INTO artifacts (role, key, sha256, size_bytes, media_type, width, height)
SELECT role, role || '/' || t.id || '-1.png', repeat('b', 64), 100, 'image/png', 64, 64
FROM tasks t CROSS JOIN (VALUES ('result'), ('thumbnail')) AS roles (role) WHERE t.status = 'succeeded';
INSERT INTO results (task_id, attempt, image_id, thumbnail_id, provenance)
SELECT t.id, 1, i.id, s.id, '{"bucket": 1}' FROM tasks t
JOIN artifacts i ON i.key = 'result/' || t.id || '-1.png' JOIN artifacts s ON s.key = 'thumbnail/' || t.id || '-1.png'
WHERE t.status = 'succeeded';

INSERT INTO events (kind, job_id, reason) SELECT 'job.submitted', id, NULL FROM jobs;
DROP TABLE alike;

SELECT setval(pg_get_serial_sequence(name, 'id'), 100)
FROM unnest(ARRAY['users', 'projects', 'checkpoints', 'workers', 'jobs', 'tasks']) name;
