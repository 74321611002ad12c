-- What a model with "think" thought before its number: the tokens as they were generated (little-endian
-- uint32), the text, and in "rest" the end of a text whose last token also began the mark that ends a
-- thought. "ended": by the model itself; "cut": by the length limit; "looped", "empty": what it looks
-- like. "answer" is what the model then wrote, "said" the number in it (percent). The distribution read
-- after each is in scored_samples.
CREATE TABLE thoughts (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    agent TEXT NOT NULL,
    sample INTEGER NOT NULL,
    model TEXT NOT NULL,
    created_at TEXT NOT NULL,
    text TEXT NOT NULL,
    rest TEXT NOT NULL,
    token_ids BLOB NOT NULL,
    tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    ended INTEGER NOT NULL CHECK (ended IN (0, 1)),
    cut INTEGER NOT NULL CHECK (cut IN (0, 1)),
    looped INTEGER NOT NULL CHECK (looped IN (0, 1)),
    empty INTEGER NOT NULL CHECK (empty IN (0, 1)),
    seed INTEGER NOT NULL,
    answer TEXT NOT NULL,
    said REAL CHECK (said BETWEEN 0 AND 100),
    PRIMARY KEY (run_id, question_id, chunk, agent, sample),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) STRICT;
-- Each thought beside the mean of the distribution read after it, in percent.
CREATE VIEW thoughts_read AS
    SELECT t.run_id AS run, t.question_id, q.text AS question, t.agent, t.chunk, t.sample, t.tokens, t.ended, t.cut,
           t.looped, t.empty, t.said, s.mean AS read, t.said - s.mean AS difference, t.answer, t.text
    FROM thoughts t JOIN questions q ON q.id = t.question_id
    LEFT JOIN forecasts f ON f.run_id = t.run_id AND f.question_id = t.question_id AND f.agent = t.agent AND f.chunk = t.chunk
    LEFT JOIN scored_samples s ON s.forecast_id = f.id AND s.sample = t.sample;
-- A forecast may also be compared with one made without its thought.
DROP VIEW ablation_pairs;
ALTER TABLE ablations RENAME TO ablations_before;
CREATE TABLE ablations (
    forecast_id INTEGER NOT NULL REFERENCES forecasts(id) ON DELETE CASCADE,
    condition TEXT NOT NULL CHECK (condition IN ('no_thought', 'no_reasoning', 'no_evidence', 'neither')),
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
INSERT INTO ablations (forecast_id, condition, prompt_sha256, probabilities, mean, captured_mass, residual_mass, shift, divergence, error)
    SELECT forecast_id, condition, prompt_sha256, probabilities, mean, captured_mass, residual_mass, shift, divergence, error FROM ablations_before;
DROP TABLE ablations_before;
CREATE VIEW ablation_pairs AS
    SELECT f.run_id AS run, q.id AS question_id, q.text AS question, f.agent, f.chunk, a.condition,
           f.mean AS full_mean, a.mean, a.shift, a.divergence, a.captured_mass, a.residual_mass, a.error
    FROM ablations a JOIN forecasts f ON f.id = a.forecast_id JOIN questions q ON q.id = f.question_id;
