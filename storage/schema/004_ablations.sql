-- Ablation: each forecast beside the same work without reasoning, evidence, or both; the view has
-- the pairs by name.
CREATE TABLE ablations (
    forecast_id INTEGER NOT NULL REFERENCES forecasts(id) ON DELETE CASCADE,
    condition TEXT NOT NULL CHECK (condition IN ('no_reasoning', 'no_evidence', 'neither')),
    prompt_sha256 TEXT REFERENCES prompts(sha256),
    probabilities TEXT CHECK (probabilities IS NULL OR json_array_length(probabilities) = 101),
    mean REAL,
    captured_mass REAL,
    residual_mass REAL,
    shift REAL,
    divergence REAL,
    error TEXT,
    PRIMARY KEY (forecast_id, condition),
    CHECK ((probabilities IS NULL) = (error IS NOT NULL))
);
CREATE VIEW ablation_pairs AS
    SELECT f.run_id AS run, q.id AS question_id, q.text AS question, f.agent, f.chunk, a.condition,
           f.mean AS full_mean, a.mean, a.shift, a.divergence, a.captured_mass, a.residual_mass, a.error
    FROM ablations a JOIN forecasts f ON f.id = a.forecast_id JOIN questions q ON q.id = f.question_id;
