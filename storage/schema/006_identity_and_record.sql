-- Identity and the record. "subject" joins the histories and outcomes of questions: the id, unless a
-- file or the user joins several ids. "asked" is there for every run and is what the views show.
-- What was forecast as of a past day (back-dated) is a record of its own beside the live one.
-- "weights" and "weakest_captured" say how much each agent counted in a pool and the least captured
-- mass among them. "calibrated" is the newest calibration's value in percent.
ALTER TABLE questions ADD COLUMN subject TEXT NOT NULL DEFAULT '';
UPDATE questions SET subject = id;
CREATE INDEX questions_by_subject ON questions (subject);
UPDATE run_questions SET asked = (
    SELECT json_object('as_of', CASE WHEN run_questions.as_of IS r.as_of THEN NULL ELSE run_questions.as_of END,
                       'background', q.background, 'close_date', q.close_date, 'extra', json(q.extra), 'id', q.id,
                       'resolution_criteria', q.resolution_criteria, 'subject', q.subject, 'text', q.text)
    FROM questions q, runs r WHERE q.id = run_questions.question_id AND r.id = run_questions.run_id)
    WHERE asked IS NULL;
CREATE TABLE rewordings (
    id INTEGER PRIMARY KEY,
    question_id TEXT NOT NULL REFERENCES questions(id),
    run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    old_text TEXT NOT NULL,
    new_text TEXT NOT NULL,
    accepted_at TEXT NOT NULL
) STRICT;
ALTER TABLE ensembles ADD COLUMN weights TEXT CHECK (weights IS NULL OR json_valid(weights));
ALTER TABLE ensembles ADD COLUMN weakest_captured REAL;
ALTER TABLE calibrations ADD COLUMN record TEXT NOT NULL DEFAULT 'live' CHECK (record IN ('live', 'back-dated'));
ALTER TABLE calibrations ADD COLUMN raw_log REAL;
ALTER TABLE calibrations ADD COLUMN calibrated_log REAL;
ALTER TABLE calibrations ADD COLUMN raw_ece REAL;
ALTER TABLE calibrations ADD COLUMN calibrated_ece REAL;
CREATE INDEX calibrated_by_run ON calibrated_forecasts (run_id, question_id);
CREATE INDEX run_questions_by_question ON run_questions (question_id);
DROP VIEW latest_forecasts;
DROP VIEW forecast_history;
DROP VIEW ablation_pairs;
DROP VIEW evidence_trail;
CREATE VIEW forecast_history AS
    SELECT r.id AS run, r.started_at, f.question_id, json_extract(rq.asked, '$.text') AS question, f.agent, f.chunk,
           f.mean, f.median, f.p10, f.p90, f.entropy, f.captured_mass, f.residual_mass, f.low_confidence, f.error,
           q.subject, rq.as_of, CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END AS record, NULL AS agents, NULL AS agents_configured,
           (SELECT 100 * c.calibrated FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id
            WHERE c.run_id = f.run_id AND c.question_id = f.question_id AND k.forecaster = f.agent
            AND k.record = CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END ORDER BY k.id DESC LIMIT 1) AS calibrated
    FROM forecasts f JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id
    WHERE r.origin_run IS NULL
    UNION ALL
    SELECT r.id, r.started_at, e.question_id, json_extract(rq.asked, '$.text'), 'ensemble', 0,
           e.mean, e.median, e.p10, e.p90, e.entropy, e.captured_mass, e.residual_mass, e.low_confidence, NULL,
           q.subject, rq.as_of, CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END, e.agents, e.agents_configured, (SELECT 100 * c.calibrated FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id
            WHERE c.run_id = e.run_id AND c.question_id = e.question_id AND k.forecaster = 'ensemble'
            AND k.record = CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END ORDER BY k.id DESC LIMIT 1)
    FROM ensembles e JOIN runs r ON r.id = e.run_id JOIN questions q ON q.id = e.question_id
    JOIN run_questions rq ON rq.run_id = e.run_id AND rq.question_id = e.question_id
    WHERE r.origin_run IS NULL;
-- The newest run's forecast of each question: one in the live record, one for each day asked about in the back-dated one.
CREATE VIEW latest_forecasts AS
    SELECT run, started_at, question_id, question, agent, chunk, mean, median, p10, p90, entropy, captured_mass,
           residual_mass, low_confidence, error, subject, as_of, record, agents, agents_configured, calibrated
    FROM (SELECT *, max(run) OVER (PARTITION BY subject, as_of, agent) AS newest FROM forecast_history)
    WHERE run = newest;
CREATE VIEW ablation_pairs AS
    SELECT f.run_id AS run, f.question_id, json_extract(rq.asked, '$.text') AS question, f.agent, f.chunk, a.condition,
           f.mean AS full_mean, a.mean, a.shift, a.divergence, a.captured_mass, a.residual_mass, a.error
    FROM ablations a JOIN forecasts f ON f.id = a.forecast_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id;
CREATE VIEW evidence_trail AS
    SELECT f.run_id AS run, r.started_at, f.question_id, json_extract(rq.asked, '$.text') AS question,
           rq.as_of, f.agent, f.chunk, e.used, e.number, e.rank, e.score, a.source, a.title, p.section, a.revision_id,
           a.timestamp AS revised_at, a.url, p.text AS passage, a.text_sha256, f.prompt_sha256
    FROM evidence e JOIN forecasts f ON f.id = e.forecast_id JOIN runs r ON r.id = f.run_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id
    ORDER BY f.run_id, rq.position, f.agent, f.chunk, e.number;
