-- Lists of ids, each stored once: the relatives behind base rates (ids of questions, newest first) and the forecasts behind
-- curves (RUN:QUESTION). They grow with the record, and many questions and runs share them.
CREATE TABLE id_lists (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    ids TEXT NOT NULL CHECK (json_valid(ids))
) STRICT;
INSERT OR IGNORE INTO id_lists (sha256, ids) SELECT sha256(relatives), relatives FROM outside_views WHERE relatives <> '[]';
INSERT OR IGNORE INTO id_lists (sha256, ids) SELECT sha256(forecasts), forecasts FROM applied_calibrations WHERE forecasts <> '[]';
DROP VIEW final_forecasts;
ALTER TABLE outside_views ADD COLUMN relative_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outside_views ADD COLUMN relative_list INTEGER REFERENCES id_lists(id);
UPDATE outside_views SET relative_count = json_array_length(relatives),
    relative_list = (SELECT l.id FROM id_lists l WHERE l.sha256 = sha256(outside_views.relatives))
WHERE relatives <> '[]';
ALTER TABLE outside_views DROP COLUMN relatives;
ALTER TABLE applied_calibrations ADD COLUMN forecast_list INTEGER REFERENCES id_lists(id);
UPDATE applied_calibrations SET forecast_list = (SELECT l.id FROM id_lists l WHERE l.sha256 = sha256(applied_calibrations.forecasts))
WHERE forecasts <> '[]';
ALTER TABLE applied_calibrations DROP COLUMN forecasts;
-- The list of a day's forecasts goes into "id_lists" when a run applies a curve of that day.
DELETE FROM learnt_weights;
DELETE FROM learnt_curves;
ALTER TABLE learnt_weights ADD COLUMN forecasts_sha256 TEXT NOT NULL DEFAULT '';
CREATE VIEW final_forecasts AS
    SELECT r.id AS run, r.started_at, n.question_id, json_extract(rq.asked, '$.text') AS question, q.subject, rq.as_of,
           CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END AS record,
           CASE WHEN d.final IS NULL OR d.final = d.models THEN n.mean ELSE round(100 * d.final, 4) END AS final, n.mean AS models,
           CASE WHEN d.assisted IS NULL OR d.assisted = d.models THEN n.mean ELSE round(100 * d.assisted, 4) END AS assisted,
           round(100 * o.market, 4) AS market, o.market_date, coalesce(o.market_shown, 0) AS market_shown,
           round(100 * o.base_rate, 4) AS base_rate, o.yes, o.relative_count AS relatives, o.kind AS base_rate_kind,
           c.used AS calibration_used, d.rule_version, d.voices
    FROM ensembles n JOIN runs r ON r.id = n.run_id JOIN questions q ON q.id = n.question_id
    JOIN run_questions rq ON rq.run_id = n.run_id AND rq.question_id = n.question_id
    LEFT JOIN final_numbers d ON d.run_id = n.run_id AND d.question_id = n.question_id
    LEFT JOIN outside_views o ON o.run_id = n.run_id AND o.question_id = n.question_id
    LEFT JOIN applied_calibrations c ON c.run_id = d.run_id AND c.kind = d.calibration_kind AND c.day = d.calibration_day
    WHERE r.origin_run IS NULL;
