-- Resume and replay: who works on a run, which run it repeats, each question exactly as this run
-- asked it (the table questions keeps the newest wording only), and which weights each model had.
-- A replay is a check of an earlier forecast and no forecast of its own, so the views leave it out.
ALTER TABLE runs ADD COLUMN origin_run INTEGER REFERENCES runs(id) ON DELETE CASCADE;
ALTER TABLE runs ADD COLUMN owner TEXT;
ALTER TABLE run_questions ADD COLUMN asked TEXT CHECK (asked IS NULL OR json_valid(asked));
CREATE TABLE run_models (
    run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    weights TEXT NOT NULL,
    PRIMARY KEY (run_id, agent)
) WITHOUT ROWID;
DROP VIEW latest_forecasts;
DROP VIEW forecast_history;
CREATE VIEW forecast_history AS
    SELECT r.id AS run, r.started_at, q.id AS question_id, q.text AS question, f.agent, f.chunk,
           f.mean, f.median, f.p10, f.p90, f.entropy, f.captured_mass, f.residual_mass, f.low_confidence, f.error
    FROM forecasts f JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id
    WHERE r.origin_run IS NULL
    UNION ALL
    SELECT r.id, r.started_at, q.id, q.text, 'ensemble', 0,
           e.mean, e.median, e.p10, e.p90, e.entropy, e.captured_mass, e.residual_mass, e.low_confidence, NULL
    FROM ensembles e JOIN runs r ON r.id = e.run_id JOIN questions q ON q.id = e.question_id
    WHERE r.origin_run IS NULL;
CREATE VIEW latest_forecasts AS
    SELECT * FROM forecast_history h
    WHERE run = (SELECT max(run) FROM forecast_history l
                 WHERE l.question_id = h.question_id AND l.agent = h.agent AND l.chunk = h.chunk);
