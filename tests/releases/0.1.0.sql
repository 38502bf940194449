-- What release 0.1.0 says to Postgres, as its log_statement=all showed it: one farm's life, each statement once.

COPY tasks (job_id, seq, status, batch_key, spec, attempt_limit) FROM STDIN
;;

DELETE FROM workers WHERE workers.status = $1::VARCHAR AND workers.last_seen_at < now() - make_interval($2::INTEGER, $3::INTEGER, $4::INTEGER, $5::INTEGER) AND NOT (EXISTS (SELECT attempts.worker_id
FROM attempts
WHERE attempts.worker_id = workers.id))
;;

INSERT INTO artifacts (role, key, sha256, size_bytes, media_type, width, height) SELECT p0::VARCHAR, p1::VARCHAR, p2::VARCHAR, p3::BIGINT, p4::VARCHAR, p5::INTEGER, p6::INTEGER FROM (VALUES ($1::VARCHAR, $2::VARCHAR, $3::VARCHAR, $4::BIGINT, $5::VARCHAR, $6::INTEGER, $7::INTEGER, 0), ($8::VARCHAR, $9::VARCHAR, $10::VARCHAR, $11::BIGINT, $12::VARCHAR, $13::INTEGER, $14::INTEGER, 1)) AS imp_sen(p0, p1, p2, p3, p4, p5, p6, sen_counter) ORDER BY sen_counter RETURNING artifacts.id, artifacts.id AS id__1
;;

INSERT INTO attempts (task_id, number, worker_id, outcome, batch_size) SELECT tasks.id, tasks.attempt, tasks.worker_id, $1::VARCHAR AS anon_1, $2::INTEGER AS anon_2
FROM tasks
WHERE tasks.id = ANY ($3::BIGINT[])
;;

INSERT INTO checkpoints (name, family, sha256, location, note) VALUES ($1::VARCHAR, $2::VARCHAR, $3::VARCHAR, $4::VARCHAR, $5::VARCHAR) ON CONFLICT DO NOTHING RETURNING checkpoints.id
;;

INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, queued, running, succeeded, failed, cancelled) VALUES ($1::BIGINT, $2::VARCHAR, $3::BIGINT, $4::BIGINT, $5::VARCHAR, $6::INTEGER, $7, $8::INTEGER, $9::INTEGER, $10::INTEGER, $11::INTEGER, $12::INTEGER)
;;

INSERT INTO events (kind, job_id, task_id, reason) VALUES ($1::VARCHAR, $2::BIGINT, $3::BIGINT, $4::VARCHAR) RETURNING events.id
;;

INSERT INTO jobs (owner_id, project_id, name, mode, request, status, priority, pool, not_before, deadline, idempotency_key, request_sha256) VALUES ((SELECT users.id
FROM users
WHERE users.name = $1::VARCHAR), $2::BIGINT, $3::VARCHAR, $4::VARCHAR, $5::JSONB, $6::VARCHAR, $7::INTEGER, $8::VARCHAR, $9::TIMESTAMP WITH TIME ZONE, $10::TIMESTAMP WITH TIME ZONE, $11::VARCHAR, $12::VARCHAR) ON CONFLICT DO NOTHING RETURNING jobs.id
;;

INSERT INTO projects (name) VALUES ($1::VARCHAR) ON CONFLICT DO NOTHING RETURNING projects.id
;;

INSERT INTO results (task_id, attempt, image_id, thumbnail_id, provenance) VALUES ($1::BIGINT, $2::INTEGER, $3::BIGINT, $4::BIGINT, $5::JSONB)
;;

INSERT INTO workers (name, host, pid, device, device_name, pool, status, version) VALUES ($1::VARCHAR, $2::VARCHAR, $3::INTEGER, $4::VARCHAR, $5::VARCHAR, $6::VARCHAR, $7::VARCHAR, $8::VARCHAR) RETURNING workers.id
;;

SELECT DISTINCT counters.pool
FROM counters
WHERE counters.is_open AND counters.has_queued AND (counters.not_before IS NULL OR counters.not_before <= now()) AND counters.pool IN (SELECT workers.pool
FROM workers
WHERE workers.status = $1::VARCHAR)
;;

SELECT attempts.task_id, attempts.number, attempts.worker_id, attempts.outcome, attempts.error, attempts.batch_size, attempts.gpu_seconds, attempts.timings, attempts.started_at, attempts.ended_at, checkpoints_1.id, checkpoints_1.name, checkpoints_1.family, checkpoints_1.sha256, checkpoints_1.location, checkpoints_1.note, checkpoints_1.created_at, checkpoints_1.removed_at, workers_1.id AS id_1, workers_1.name AS name_1, workers_1.host, workers_1.pid, workers_1.device, workers_1.device_name, workers_1.pool, workers_1.status, workers_1.reason, workers_1.checkpoint_id, workers_1.version, workers_1.started_at AS started_at_1, workers_1.last_seen_at
FROM attempts JOIN tasks ON tasks.id = attempts.task_id LEFT OUTER JOIN workers AS workers_1 ON workers_1.id = attempts.worker_id LEFT OUTER JOIN checkpoints AS checkpoints_1 ON checkpoints_1.id = workers_1.checkpoint_id
WHERE tasks.job_id = $1::BIGINT AND attempts.outcome IN ($2::VARCHAR, $3::VARCHAR) ORDER BY attempts.started_at DESC
 LIMIT $4::INTEGER
;;

SELECT checkpoints.id, checkpoints.name, checkpoints.family, checkpoints.sha256, checkpoints.location, checkpoints.note, checkpoints.created_at, checkpoints.removed_at
FROM checkpoints
WHERE checkpoints.removed_at IS NULL ORDER BY checkpoints.name
;;

SELECT coalesce(sum(counters.queued), $1::INTEGER) AS coalesce_1
FROM counters
WHERE counters.job_id = $2::BIGINT
;;

SELECT coalesce(sum(counters.queued), $1::INTEGER) AS coalesce_1, coalesce(sum(counters.running), $2::INTEGER) AS coalesce_3
FROM counters
WHERE counters.has_queued OR counters.running > $3::INTEGER
;;

SELECT count(*) AS count_1
FROM tasks
WHERE tasks.job_id = $1::BIGINT
;;

SELECT count(*) AS count_1
FROM workers
WHERE workers.pool = $1::VARCHAR AND workers.status != $2::VARCHAR
;;

SELECT count(*) AS count_1
FROM workers
WHERE workers.status != $1::VARCHAR
;;

SELECT count(*) AS count_1
FROM workers
WHERE workers.status = $1::VARCHAR
;;

SELECT counters.batch_key
FROM counters
WHERE counters.job_id = $1::BIGINT ORDER BY counters.batch_key FOR UPDATE
;;

SELECT jobs.id
FROM jobs
WHERE jobs.deadline <= now() AND jobs.finished_at IS NULL AND (EXISTS (SELECT counters.job_id
FROM counters
WHERE counters.job_id = jobs.id AND counters.has_queued))
;;

SELECT jobs.id
FROM jobs
WHERE jobs.id = $1::BIGINT FOR UPDATE
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, counts.total, counts.queued, counts.running, counts.succeeded, counts.failed, counts.cancelled, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs JOIN LATERAL (SELECT sum(counters.queued + counters.running + counters.succeeded + counters.failed + counters.cancelled) AS total, sum(counters.queued) AS queued, sum(counters.running) AS running, sum(counters.succeeded) AS succeeded, sum(counters.failed) AS failed, sum(counters.cancelled) AS cancelled
FROM counters
WHERE counters.job_id = jobs.id) AS counts ON true JOIN users ON users.id = jobs.owner_id LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id
WHERE jobs.status = $1::VARCHAR AND users.name = $2::VARCHAR ORDER BY jobs.id DESC
 LIMIT $3::INTEGER
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, counts.total, counts.queued, counts.running, counts.succeeded, counts.failed, counts.cancelled, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs JOIN LATERAL (SELECT sum(counters.queued + counters.running + counters.succeeded + counters.failed + counters.cancelled) AS total, sum(counters.queued) AS queued, sum(counters.running) AS running, sum(counters.succeeded) AS succeeded, sum(counters.failed) AS failed, sum(counters.cancelled) AS cancelled
FROM counters
WHERE counters.job_id = jobs.id) AS counts ON true LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id
WHERE jobs.id = $1::BIGINT
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, counts.total, counts.queued, counts.running, counts.succeeded, counts.failed, counts.cancelled, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs JOIN LATERAL (SELECT sum(counters.queued + counters.running + counters.succeeded + counters.failed + counters.cancelled) AS total, sum(counters.queued) AS queued, sum(counters.running) AS running, sum(counters.succeeded) AS succeeded, sum(counters.failed) AS failed, sum(counters.cancelled) AS cancelled
FROM counters
WHERE counters.job_id = jobs.id) AS counts ON true LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id ORDER BY jobs.id DESC
 LIMIT $1::INTEGER
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, jobs.not_before > now() AS is_early, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id
WHERE jobs.id = $1::BIGINT
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs JOIN users ON users.id = jobs.owner_id LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id
WHERE users.name = $1::VARCHAR AND jobs.idempotency_key = $2::VARCHAR
;;

SELECT jobs.id, jobs.owner_id, jobs.project_id, jobs.name, jobs.mode, jobs.request, jobs.status, jobs.reason, jobs.priority, jobs.pool, jobs.not_before, jobs.deadline, jobs.idempotency_key, jobs.request_sha256, jobs.created_at, jobs.finished_at, users_1.id AS id_1, users_1.name AS name_1, users_1.gpu_seconds, users_1.gpu_seconds_at, users_1.created_at AS created_at_1, projects_1.id AS id_2, projects_1.name AS name_2, projects_1.created_at AS created_at_2
FROM jobs LEFT OUTER JOIN users AS users_1 ON users_1.id = jobs.owner_id LEFT OUTER JOIN projects AS projects_1 ON projects_1.id = jobs.project_id
WHERE jobs.id = $1::BIGINT
;;

SELECT projects.id
FROM projects
WHERE projects.name = $1::VARCHAR
;;

SELECT results.task_id, results.attempt, results.image_id, results.thumbnail_id, results.provenance, results.created_at, artifacts_1.id, artifacts_1.role, artifacts_1.key, artifacts_1.sha256, artifacts_1.size_bytes, artifacts_1.media_type, artifacts_1.width, artifacts_1.height, artifacts_1.created_at AS created_at_1, artifacts_2.id AS id_1, artifacts_2.role AS role_1, artifacts_2.key AS key_1, artifacts_2.sha256 AS sha256_1, artifacts_2.size_bytes AS size_bytes_1, artifacts_2.media_type AS media_type_1, artifacts_2.width AS width_1, artifacts_2.height AS height_1, artifacts_2.created_at AS created_at_2, tasks_1.id AS id_2, tasks_1.job_id, tasks_1.seq, tasks_1.status, tasks_1.reason, tasks_1.batch_key, tasks_1.spec, tasks_1.attempt AS attempt_1, tasks_1.attempt_limit, tasks_1.runs_alone, tasks_1.worker_id, tasks_1.lease_until
FROM (VALUES ($1::BIGINT, $2::INTEGER)) AS shares (job_id, share) JOIN LATERAL (SELECT tasks.id AS id
FROM tasks
WHERE tasks.job_id = shares.job_id AND tasks.status = $3::VARCHAR ORDER BY tasks.seq
 LIMIT shares.share) AS firsts ON true JOIN results ON results.task_id = firsts.id LEFT OUTER JOIN artifacts AS artifacts_1 ON artifacts_1.id = results.image_id LEFT OUTER JOIN artifacts AS artifacts_2 ON artifacts_2.id = results.thumbnail_id LEFT OUTER JOIN tasks AS tasks_1 ON tasks_1.id = results.task_id ORDER BY results.task_id
;;

SELECT results.task_id, results.attempt, results.image_id, results.thumbnail_id, results.provenance, results.created_at, artifacts_1.id, artifacts_1.role, artifacts_1.key, artifacts_1.sha256, artifacts_1.size_bytes, artifacts_1.media_type, artifacts_1.width, artifacts_1.height, artifacts_1.created_at AS created_at_1, artifacts_2.id AS id_1, artifacts_2.role AS role_1, artifacts_2.key AS key_1, artifacts_2.sha256 AS sha256_1, artifacts_2.size_bytes AS size_bytes_1, artifacts_2.media_type AS media_type_1, artifacts_2.width AS width_1, artifacts_2.height AS height_1, artifacts_2.created_at AS created_at_2, tasks_1.id AS id_2, tasks_1.job_id, tasks_1.seq, tasks_1.status, tasks_1.reason, tasks_1.batch_key, tasks_1.spec, tasks_1.attempt AS attempt_1, tasks_1.attempt_limit, tasks_1.runs_alone, tasks_1.worker_id, tasks_1.lease_until
FROM results JOIN tasks ON tasks.id = results.task_id LEFT OUTER JOIN artifacts AS artifacts_1 ON artifacts_1.id = results.image_id LEFT OUTER JOIN artifacts AS artifacts_2 ON artifacts_2.id = results.thumbnail_id LEFT OUTER JOIN tasks AS tasks_1 ON tasks_1.id = results.task_id
WHERE tasks.job_id = $1::BIGINT AND tasks.seq > $2::INTEGER ORDER BY tasks.seq
 LIMIT $3::INTEGER
;;

SELECT sum(counters.queued + counters.running) AS sum_1, sum(counters.failed) AS sum_2, sum(counters.cancelled) AS sum_3
FROM counters
WHERE counters.job_id = $1::BIGINT
;;

SELECT tasks.id
FROM tasks
WHERE tasks.status = $1::VARCHAR AND tasks.lease_until < now() ORDER BY tasks.lease_until
 LIMIT $2::INTEGER FOR UPDATE SKIP LOCKED
;;

SELECT tasks.id, tasks.job_id, tasks.attempt, tasks.spec, checkpoints.id AS id_1, checkpoints.name, checkpoints.family, checkpoints.sha256, checkpoints.location
FROM tasks JOIN counters ON counters.job_id = tasks.job_id AND counters.batch_key = tasks.batch_key JOIN checkpoints ON checkpoints.id = counters.checkpoint_id
WHERE tasks.id = ANY ($1::BIGINT[]) ORDER BY tasks.job_id, tasks.seq
;;

SELECT tasks.id, tasks.job_id, tasks.seq, tasks.status, tasks.reason, tasks.batch_key, tasks.spec, tasks.attempt, tasks.attempt_limit, tasks.runs_alone, tasks.worker_id, tasks.lease_until, workers.name
FROM tasks LEFT OUTER JOIN workers ON workers.id = tasks.worker_id
WHERE tasks.job_id = $1::BIGINT AND tasks.seq > $2::INTEGER AND tasks.status = $3::VARCHAR ORDER BY tasks.seq
 LIMIT $4::INTEGER
;;

SELECT tasks.id, tasks.job_id, tasks.seq, tasks.status, tasks.reason, tasks.batch_key, tasks.spec, tasks.attempt, tasks.attempt_limit, tasks.runs_alone, tasks.worker_id, tasks.lease_until, workers.name
FROM tasks LEFT OUTER JOIN workers ON workers.id = tasks.worker_id
WHERE tasks.job_id = $1::BIGINT AND tasks.seq > $2::INTEGER ORDER BY tasks.seq
 LIMIT $3::INTEGER
;;

SELECT tasks.id, tasks.status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id = $2::BIGINT AND tasks.attempt = $3::INTEGER ORDER BY tasks.id FOR UPDATE OF tasks
;;

SELECT tasks.id, tasks.status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id IN ($2::BIGINT) ORDER BY tasks.id FOR UPDATE OF tasks
;;

SELECT tasks.id, tasks.status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.worker_id = $2::BIGINT ORDER BY tasks.id FOR UPDATE OF tasks
;;

SELECT users.id
FROM users
WHERE users.name = $1::VARCHAR
;;

SELECT workers.id, workers.name, workers.host, workers.pid, workers.device, workers.device_name, workers.pool, workers.status, workers.reason, workers.checkpoint_id, workers.version, workers.started_at, workers.last_seen_at, coalesce(anon_1.running, $1::INTEGER) AS coalesce_1, EXTRACT(epoch FROM now() - workers.last_seen_at) AS anon_2, checkpoints_1.id AS id_1, checkpoints_1.name AS name_1, checkpoints_1.family, checkpoints_1.sha256, checkpoints_1.location, checkpoints_1.note, checkpoints_1.created_at, checkpoints_1.removed_at
FROM workers LEFT OUTER JOIN (SELECT tasks.worker_id AS worker_id, count(*) AS running
FROM tasks
WHERE tasks.status = $2::VARCHAR GROUP BY tasks.worker_id) AS anon_1 ON anon_1.worker_id = workers.id LEFT OUTER JOIN checkpoints AS checkpoints_1 ON checkpoints_1.id = workers.checkpoint_id
WHERE workers.status != $3::VARCHAR OR EXTRACT(epoch FROM now() - workers.last_seen_at) < $4::INTEGER ORDER BY workers.status = $5::VARCHAR, workers.name, workers.id DESC
 LIMIT $6::INTEGER
;;

UPDATE attempts SET outcome=$1::VARCHAR, error=$2::VARCHAR, ended_at=clock_timestamp() WHERE (attempts.task_id, attempts.number) IN (($3, $4), ($5, $6), ($7, $8)) AND attempts.outcome = $9::VARCHAR
;;

UPDATE attempts SET outcome=$1::VARCHAR, error=$2::VARCHAR, gpu_seconds=$3, timings=$4::JSONB, ended_at=clock_timestamp() WHERE (attempts.task_id, attempts.number) IN (($5, $6)) AND attempts.outcome = $7::VARCHAR
;;

UPDATE attempts SET outcome=$1::VARCHAR, error=$2::VARCHAR, gpu_seconds=EXTRACT(epoch FROM clock_timestamp() - attempts.started_at), ended_at=clock_timestamp() WHERE (attempts.task_id, attempts.number) IN (($3, $4)) AND attempts.outcome = $5::VARCHAR
;;

UPDATE counters SET is_open=$1 WHERE counters.job_id = $2::BIGINT
;;

UPDATE counters SET priority=$1::INTEGER WHERE counters.job_id = $2::BIGINT
;;

UPDATE counters SET queued=(counters.queued + $1::INTEGER), running=(counters.running - $2::INTEGER) WHERE counters.job_id = $3::BIGINT AND counters.batch_key = $4::VARCHAR RETURNING counters.queued + counters.running AS anon_1
;;

UPDATE counters SET queued=(counters.queued - $1::INTEGER), running=(counters.running + $2::INTEGER) WHERE counters.job_id = $3::BIGINT AND counters.batch_key = $4::VARCHAR RETURNING counters.queued + counters.running AS anon_1
;;

UPDATE counters SET running=(counters.running - $1::INTEGER), cancelled=(counters.cancelled + $2::INTEGER) WHERE counters.job_id = $3::BIGINT AND counters.batch_key = $4::VARCHAR RETURNING counters.queued + counters.running AS anon_1
;;

UPDATE counters SET running=(counters.running - $1::INTEGER), failed=(counters.failed + $2::INTEGER) WHERE counters.job_id = $3::BIGINT AND counters.batch_key = $4::VARCHAR RETURNING counters.queued + counters.running AS anon_1
;;

UPDATE counters SET running=(counters.running - $1::INTEGER), succeeded=(counters.succeeded + $2::INTEGER) WHERE counters.job_id = $3::BIGINT AND counters.batch_key = $4::VARCHAR RETURNING counters.queued + counters.running AS anon_1
;;

UPDATE jobs SET priority=$1::INTEGER WHERE jobs.id = $2::BIGINT
;;

UPDATE jobs SET status=$1::VARCHAR, reason=$2::VARCHAR, finished_at=$3::TIMESTAMP WITH TIME ZONE WHERE jobs.id = $4::BIGINT AND jobs.status IN ($5::VARCHAR) RETURNING jobs.id
;;

UPDATE jobs SET status=$1::VARCHAR, reason=$2::VARCHAR, finished_at=$3::TIMESTAMP WITH TIME ZONE WHERE jobs.id = $4::BIGINT AND jobs.status IN ($5::VARCHAR, $6::VARCHAR) RETURNING jobs.id
;;

UPDATE jobs SET status=$1::VARCHAR, reason=$2::VARCHAR, finished_at=now() WHERE jobs.id = $3::BIGINT AND jobs.status IN ($4::VARCHAR, $5::VARCHAR) RETURNING jobs.id
;;

UPDATE users SET gpu_seconds=(users.gpu_seconds * exp((-EXTRACT(epoch FROM now() - users.gpu_seconds_at)) / CAST($1 AS DOUBLE PRECISION)) + $2), gpu_seconds_at=now() WHERE users.id = (SELECT jobs.owner_id
FROM jobs
WHERE jobs.id = $3::BIGINT)
;;

UPDATE workers SET status=$1::VARCHAR, reason=$2::VARCHAR WHERE workers.id = $3::BIGINT AND workers.status != $4::VARCHAR
;;

UPDATE workers SET status=$1::VARCHAR, reason=$2::VARCHAR WHERE workers.status != $3::VARCHAR AND workers.last_seen_at < now() - make_interval($4::INTEGER, $5::INTEGER, $6::INTEGER, $7::INTEGER, $8::INTEGER, $9::INTEGER, $10) RETURNING workers.id
;;

UPDATE workers SET status=$1::VARCHAR, reason=$2::VARCHAR, checkpoint_id=$3::BIGINT, last_seen_at=now() WHERE workers.id = $4::BIGINT
;;

WITH "old" AS
(
    WITH line AS (
        SELECT c.*, floor(u.gpu_seconds * exp(-extract(epoch FROM now() - u.gpu_seconds_at) / $1)
                          / $2) AS share
        FROM users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id FROM counters
            WHERE pool = $3::VARCHAR AND owner_id = u.id AND is_open AND has_queued
              AND (not_before IS NULL OR not_before <= now())
            ORDER BY priority DESC, job_id LIMIT 32
        ) c
    ), head AS (
        SELECT * FROM line
        ORDER BY priority DESC, share, (checkpoint_id = $4) DESC NULLS LAST, job_id, batch_key LIMIT 1
    ), mates AS (
        SELECT c.job_id, c.batch_key, c.queued FROM head JOIN counters c USING (batch_key)
        WHERE c.pool = $3::VARCHAR AND c.is_open AND c.has_queued AND (c.not_before IS NULL OR c.not_before <= now())
        ORDER BY (c.job_id = head.job_id) DESC, c.priority DESC, c.job_id LIMIT 16
    ), part AS (
        SELECT least($5::INTEGER, batch_limit, ceil((SELECT sum(queued) FROM mates)::numeric / greatest(1, (
            SELECT count(*) FROM workers WHERE pool = $3::VARCHAR AND status <> 'offline')))) AS tasks
        FROM head
    ), fresh AS (
        SELECT t.* FROM mates CROSS JOIN LATERAL (
            SELECT id, status, job_id FROM tasks
            WHERE job_id = mates.job_id AND batch_key = mates.batch_key AND status = 'queued'
              AND NOT runs_alone
            ORDER BY seq LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
        ) t
        LIMIT (SELECT tasks FROM part)
    ), lone AS (
        SELECT id, status FROM tasks
        WHERE job_id = (SELECT job_id FROM head) AND batch_key = (SELECT batch_key FROM head) AND status = 'queued'
          AND runs_alone
          AND NOT EXISTS (SELECT FROM fresh WHERE fresh.job_id = (SELECT job_id FROM head))
        ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    SELECT id, status FROM lone
    UNION ALL
    SELECT id, status FROM fresh WHERE NOT EXISTS (SELECT FROM lone)
    )
 UPDATE tasks SET status=$6::VARCHAR, reason=$7::VARCHAR, attempt=(tasks.attempt + $8::INTEGER), worker_id=$9::BIGINT, lease_until=(now() + make_interval($10::INTEGER, $11::INTEGER, $12::INTEGER, $13::INTEGER, $14::INTEGER, $15::INTEGER, $16)) FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(
    WITH line AS (
        SELECT c.*, floor(u.gpu_seconds * exp(-extract(epoch FROM now() - u.gpu_seconds_at) / $1)
                          / $2) AS share
        FROM users u
        CROSS JOIN LATERAL (
            SELECT job_id, batch_key, batch_limit, priority, queued, checkpoint_id FROM counters
            WHERE pool = $3::VARCHAR AND owner_id = u.id AND is_open AND has_queued
              AND (not_before IS NULL OR not_before <= now())
            ORDER BY priority DESC, job_id LIMIT 32
        ) c
    ), head AS (
        SELECT * FROM line
        ORDER BY priority DESC, share, (checkpoint_id = $4::INTEGER) DESC NULLS LAST, job_id, batch_key LIMIT 1
    ), mates AS (
        SELECT c.job_id, c.batch_key, c.queued FROM head JOIN counters c USING (batch_key)
        WHERE c.pool = $3::VARCHAR AND c.is_open AND c.has_queued AND (c.not_before IS NULL OR c.not_before <= now())
        ORDER BY (c.job_id = head.job_id) DESC, c.priority DESC, c.job_id LIMIT 16
    ), part AS (
        SELECT least($5::INTEGER, batch_limit, ceil((SELECT sum(queued) FROM mates)::numeric / greatest(1, (
            SELECT count(*) FROM workers WHERE pool = $3::VARCHAR AND status <> 'offline')))) AS tasks
        FROM head
    ), fresh AS (
        SELECT t.* FROM mates CROSS JOIN LATERAL (
            SELECT id, status, job_id FROM tasks
            WHERE job_id = mates.job_id AND batch_key = mates.batch_key AND status = 'queued'
              AND NOT runs_alone
            ORDER BY seq LIMIT $5::INTEGER FOR UPDATE SKIP LOCKED
        ) t
        LIMIT (SELECT tasks FROM part)
    ), lone AS (
        SELECT id, status FROM tasks
        WHERE job_id = (SELECT job_id FROM head) AND batch_key = (SELECT batch_key FROM head) AND status = 'queued'
          AND runs_alone
          AND NOT EXISTS (SELECT FROM fresh WHERE fresh.job_id = (SELECT job_id FROM head))
        ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    SELECT id, status FROM lone
    UNION ALL
    SELECT id, status FROM fresh WHERE NOT EXISTS (SELECT FROM lone)
    )
 UPDATE tasks SET status=$6::VARCHAR, reason=$7::VARCHAR, attempt=(tasks.attempt + $8::INTEGER), worker_id=$9::BIGINT, lease_until=(now() + make_interval($10::INTEGER, $11::INTEGER, $12::INTEGER, $13::INTEGER, $14::INTEGER, $15::INTEGER, $16)) FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id = $2::BIGINT AND tasks.attempt = $3::INTEGER AND tasks.attempt < tasks.attempt_limit ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$4::VARCHAR, reason=$5::VARCHAR, runs_alone=$6, lease_until=$7::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id = $2::BIGINT AND tasks.attempt = $3::INTEGER ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$4::VARCHAR, reason=$5::VARCHAR, lease_until=$6::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id IN ($2::BIGINT) AND tasks.attempt < tasks.attempt_limit ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$3::VARCHAR, reason=$4::VARCHAR, runs_alone=$5, lease_until=$6::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.id IN ($2::BIGINT) ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$3::VARCHAR, reason=$4::VARCHAR, lease_until=$5::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.job_id = $2::BIGINT ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$3::VARCHAR, reason=$4::VARCHAR, attempt_limit=(tasks.attempt + $5::INTEGER) FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.worker_id = $2::BIGINT AND tasks.attempt < tasks.attempt_limit ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$3::VARCHAR, reason=$4::VARCHAR, runs_alone=$5, lease_until=$6::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR) AND tasks.worker_id = $2::BIGINT ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$3::VARCHAR, reason=$4::VARCHAR, lease_until=$5::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH "old" AS
(SELECT tasks.id AS id, tasks.status AS status
FROM tasks
WHERE tasks.status IN ($1::VARCHAR, $2::VARCHAR) AND tasks.job_id = $3::BIGINT ORDER BY tasks.id FOR UPDATE OF tasks)
 UPDATE tasks SET status=$4::VARCHAR, reason=$5::VARCHAR, lease_until=$6::TIMESTAMP WITH TIME ZONE FROM "old" WHERE tasks.id = "old".id RETURNING tasks.id, tasks.job_id, tasks.batch_key, tasks.attempt, "old".status
;;

WITH held AS
(SELECT tasks.id AS id
FROM tasks
WHERE (tasks.id, tasks.attempt) IN (($1, $2)) AND tasks.status = $3::VARCHAR ORDER BY tasks.id FOR UPDATE)
 UPDATE tasks SET lease_until=(now() + make_interval($4::INTEGER, $5::INTEGER, $6::INTEGER, $7::INTEGER, $8::INTEGER, $9::INTEGER, $10)) FROM held WHERE tasks.id = held.id RETURNING tasks.id, tasks.attempt
;;

WITH held AS
(SELECT tasks.id AS id
FROM tasks
WHERE (tasks.id, tasks.attempt) IN (($1, $2), ($3, $4)) AND tasks.status = $5::VARCHAR ORDER BY tasks.id FOR UPDATE)
 UPDATE tasks SET lease_until=(now() + make_interval($6::INTEGER, $7::INTEGER, $8::INTEGER, $9::INTEGER, $10::INTEGER, $11::INTEGER, $12)) FROM held WHERE tasks.id = held.id RETURNING tasks.id, tasks.attempt
;;

WITH held AS
(SELECT tasks.id AS id
FROM tasks
WHERE (tasks.id, tasks.attempt) IN (($1, $2), ($3, $4), ($5, $6)) AND tasks.status = $7::VARCHAR ORDER BY tasks.id FOR UPDATE)
 UPDATE tasks SET lease_until=(now() + make_interval($8::INTEGER, $9::INTEGER, $10::INTEGER, $11::INTEGER, $12::INTEGER, $13::INTEGER, $14)) FROM held WHERE tasks.id = held.id RETURNING tasks.id, tasks.attempt
;;

WITH held AS
(SELECT tasks.id AS id
FROM tasks
WHERE (tasks.id, tasks.attempt) IN (($1, $2), ($3, $4), ($5, $6), ($7, $8)) AND tasks.status = $9::VARCHAR ORDER BY tasks.id FOR UPDATE)
 UPDATE tasks SET lease_until=(now() + make_interval($10::INTEGER, $11::INTEGER, $12::INTEGER, $13::INTEGER, $14::INTEGER, $15::INTEGER, $16)) FROM held WHERE tasks.id = held.id RETURNING tasks.id, tasks.attempt
;;
