-- Three numbers of a question in a run, as probabilities 0-1: "models" (the pool of the models), "assisted" (with the market
-- price and the base rate) and "final" (made coherent as "coherent", then calibrated), and all they were made of.
-- "outside_views": what was known beside the evidence when the question was asked; *_shown says whether a prompt had it.
CREATE TABLE outside_views (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    market REAL CHECK (market BETWEEN 0 AND 1),
    market_date TEXT,
    market_shown INTEGER NOT NULL CHECK (market_shown IN (0, 1)),
    base_rate REAL CHECK (base_rate BETWEEN 0 AND 1),
    kind TEXT,
    family TEXT,
    yes REAL,
    relatives TEXT NOT NULL CHECK (json_valid(relatives)),
    prior REAL,
    strength REAL,
    base_rate_shown INTEGER NOT NULL CHECK (base_rate_shown IN (0, 1)),
    PRIMARY KEY (run_id, question_id),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) STRICT;
-- "forecasts" are the runs and questions that a curve was fitted on; one that is not "used" says why in "reason".
CREATE TABLE applied_calibrations (
    run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    day TEXT NOT NULL,
    method TEXT NOT NULL,
    parameters TEXT NOT NULL CHECK (json_valid(parameters)),
    count INTEGER NOT NULL,
    brier_before REAL,
    brier_after REAL,
    used INTEGER NOT NULL CHECK (used IN (0, 1)),
    reason TEXT NOT NULL,
    forecasts TEXT NOT NULL CHECK (json_valid(forecasts)),
    PRIMARY KEY (run_id, kind, day)
) STRICT;
CREATE TABLE final_numbers (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    rule_version INTEGER NOT NULL,
    models REAL NOT NULL CHECK (models BETWEEN 0 AND 1),
    assisted REAL NOT NULL CHECK (assisted BETWEEN 0 AND 1),
    coherent REAL NOT NULL CHECK (coherent BETWEEN 0 AND 1),
    final REAL NOT NULL CHECK (final BETWEEN 0 AND 1),
    voices TEXT NOT NULL CHECK (json_valid(voices)),
    weights TEXT NOT NULL CHECK (json_valid(weights)),
    projections TEXT NOT NULL CHECK (json_valid(projections)),
    calibration_kind TEXT NOT NULL,
    calibration_day TEXT NOT NULL,
    PRIMARY KEY (run_id, question_id),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) STRICT;
-- Numbers for people are in percent. What was pooled before there were final numbers is its own final number.
CREATE VIEW final_forecasts AS
    SELECT r.id AS run, r.started_at, n.question_id, json_extract(rq.asked, '$.text') AS question, q.subject, rq.as_of,
           CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END AS record,
           CASE WHEN d.final IS NULL OR d.final = d.models THEN n.mean ELSE round(100 * d.final, 4) END AS final, n.mean AS models,
           CASE WHEN d.assisted IS NULL OR d.assisted = d.models THEN n.mean ELSE round(100 * d.assisted, 4) END AS assisted,
           round(100 * o.market, 4) AS market, o.market_date, coalesce(o.market_shown, 0) AS market_shown,
           round(100 * o.base_rate, 4) AS base_rate, o.yes, json_array_length(o.relatives) AS relatives, o.kind AS base_rate_kind,
           c.used AS calibration_used, d.rule_version, d.voices
    FROM ensembles n JOIN runs r ON r.id = n.run_id JOIN questions q ON q.id = n.question_id
    JOIN run_questions rq ON rq.run_id = n.run_id AND rq.question_id = n.question_id
    LEFT JOIN final_numbers d ON d.run_id = n.run_id AND d.question_id = n.question_id
    LEFT JOIN outside_views o ON o.run_id = n.run_id AND o.question_id = n.question_id
    LEFT JOIN applied_calibrations c ON c.run_id = d.run_id AND c.kind = d.calibration_kind AND c.day = d.calibration_day
    WHERE r.origin_run IS NULL;
DROP VIEW latest_forecasts;
DROP VIEW forecast_history;
CREATE VIEW forecast_history AS
    SELECT r.id AS run, r.started_at, f.question_id, json_extract(rq.asked, '$.text') AS question, f.agent, f.chunk,
           f.mean, f.median, f.p10, f.p90, f.entropy, f.captured_mass, f.residual_mass, f.low_confidence, f.error,
           q.subject, rq.as_of, CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END AS record, NULL AS agents, NULL AS agents_configured,
           (SELECT 100 * c.calibrated FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id
            WHERE c.run_id = f.run_id AND c.question_id = f.question_id AND k.forecaster = f.agent
            AND k.record = CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END ORDER BY k.id DESC LIMIT 1) AS calibrated,
           NULL AS final
    FROM forecasts f JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id
    WHERE r.origin_run IS NULL
    UNION ALL
    SELECT r.id, r.started_at, e.question_id, json_extract(rq.asked, '$.text'), 'ensemble', 0,
           e.mean, e.median, e.p10, e.p90, e.entropy, e.captured_mass, e.residual_mass, e.low_confidence, NULL,
           q.subject, rq.as_of, CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END, e.agents, e.agents_configured, (SELECT 100 * c.calibrated FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id
            WHERE c.run_id = e.run_id AND c.question_id = e.question_id AND k.forecaster = 'ensemble'
            AND k.record = CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END ORDER BY k.id DESC LIMIT 1),
           coalesce((SELECT round(100 * d.final, 4) FROM final_numbers d
            WHERE d.run_id = e.run_id AND d.question_id = e.question_id AND d.final <> d.models), e.mean)
    FROM ensembles e JOIN runs r ON r.id = e.run_id JOIN questions q ON q.id = e.question_id
    JOIN run_questions rq ON rq.run_id = e.run_id AND rq.question_id = e.question_id
    WHERE r.origin_run IS NULL;
-- The newest run's forecast of each question: one in the live record, one for each day asked about in the back-dated one.
CREATE VIEW latest_forecasts AS
    SELECT run, started_at, question_id, question, agent, chunk, mean, median, p10, p90, entropy, captured_mass,
           residual_mass, low_confidence, error, subject, as_of, record, agents, agents_configured, calibrated, final
    FROM (SELECT *, max(run) OVER (PARTITION BY subject, as_of, agent) AS newest FROM forecast_history)
    WHERE run = newest;
