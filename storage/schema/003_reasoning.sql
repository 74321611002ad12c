-- Reasoning before the number: what the logic model wrote, the distribution read after each of its
-- samples, and on the forecast how many samples it is the mean of and how their spread divides
-- (standard deviations in percentage points).
CREATE TABLE reasonings (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    model TEXT NOT NULL,
    created_at TEXT NOT NULL,
    text TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    cut INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    PRIMARY KEY (run_id, question_id, chunk, sample),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
);
CREATE TABLE scored_samples (
    forecast_id INTEGER NOT NULL REFERENCES forecasts(id) ON DELETE CASCADE,
    sample INTEGER NOT NULL,
    mean REAL NOT NULL,
    probabilities TEXT NOT NULL CHECK (json_array_length(probabilities) = 101),
    PRIMARY KEY (forecast_id, sample)
) WITHOUT ROWID;
ALTER TABLE forecasts ADD COLUMN samples INTEGER NOT NULL DEFAULT 0;
ALTER TABLE forecasts ADD COLUMN within_deviation REAL;
ALTER TABLE forecasts ADD COLUMN between_deviation REAL;
ALTER TABLE forecasts ADD COLUMN reasoning_error TEXT;
