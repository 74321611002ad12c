-- A database as schema 5 wrote it: two weekly runs of a file whose ids were row numbers, so that the id 1 stood for two questions,
-- and a third week. Made by its own code, never to be changed.
PRAGMA application_id = 1180922740;
PRAGMA user_version = 5;
BEGIN;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'finished', 'partial', 'interrupted', 'failed')),
    as_of TEXT,
    seed INTEGER NOT NULL,
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    versions TEXT NOT NULL CHECK (json_valid(versions))
, origin_run INTEGER REFERENCES runs(id) ON DELETE CASCADE, owner TEXT);
CREATE TABLE questions (
    id TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    background TEXT NOT NULL,
    resolution_criteria TEXT NOT NULL,
    close_date TEXT,
    extra TEXT NOT NULL CHECK (json_valid(extra)),
    created_at TEXT NOT NULL
);
CREATE TABLE run_questions (
    run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    question_id TEXT NOT NULL REFERENCES questions(id),
    position INTEGER NOT NULL,
    as_of TEXT,
    retrieved_at TEXT,
    context_error TEXT, asked TEXT CHECK (asked IS NULL OR json_valid(asked)),
    PRIMARY KEY (run_id, question_id)
) WITHOUT ROWID;
CREATE TABLE articles (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    title TEXT NOT NULL,
    revision_id TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    url TEXT NOT NULL,
    text TEXT NOT NULL,
    text_sha256 TEXT NOT NULL,
    fetched_at TEXT NOT NULL,
    current_until TEXT NOT NULL,
    UNIQUE (source, title, revision_id)
);
CREATE INDEX articles_by_time ON articles (source, title, timestamp);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY,
    article_id INTEGER NOT NULL REFERENCES articles(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    section TEXT NOT NULL,
    text TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    UNIQUE (article_id, position)
);
CREATE VIRTUAL TABLE passage_words USING fts5 (
    title, section, text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY,
    passage_id INTEGER NOT NULL REFERENCES passages(id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    vector BLOB NOT NULL CHECK (length(vector) = 4 * dimension),
    UNIQUE (passage_id, model)
);
CREATE TABLE retrievals (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    passage_id INTEGER NOT NULL REFERENCES passages(id),
    rank INTEGER NOT NULL,
    score REAL NOT NULL,
    PRIMARY KEY (run_id, question_id, rank),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE prompts (
    sha256 TEXT PRIMARY KEY,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE forecasts (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    chunk INTEGER NOT NULL,
    model TEXT NOT NULL,
    created_at TEXT NOT NULL,
    probabilities TEXT CHECK (probabilities IS NULL OR json_array_length(probabilities) = 101),
    mean REAL,
    median REAL,
    mode REAL,
    standard_deviation REAL,
    p10 REAL,
    p90 REAL,
    entropy REAL,
    captured_mass REAL,
    residual_mass REAL,
    low_confidence INTEGER NOT NULL,
    prompt_sha256 TEXT REFERENCES prompts(sha256),
    prompt_tokens INTEGER NOT NULL,
    forward_tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    seconds REAL NOT NULL,
    reasoning TEXT,
    error TEXT,
    context_error TEXT, samples INTEGER NOT NULL DEFAULT 0, within_deviation REAL, between_deviation REAL, reasoning_error TEXT,
    UNIQUE (run_id, question_id, agent, chunk),
    CHECK ((probabilities IS NULL) = (error IS NOT NULL)),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
);
CREATE TABLE evidence (
    forecast_id INTEGER NOT NULL REFERENCES forecasts(id) ON DELETE CASCADE,
    passage_id INTEGER NOT NULL REFERENCES passages(id),
    number INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    score REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (forecast_id, passage_id)
) WITHOUT ROWID;
CREATE TABLE ensembles (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    method TEXT NOT NULL,
    created_at TEXT NOT NULL,
    probabilities TEXT NOT NULL CHECK (json_array_length(probabilities) = 101),
    mean REAL,
    median REAL,
    mode REAL,
    standard_deviation REAL,
    p10 REAL,
    p90 REAL,
    entropy REAL,
    agents INTEGER NOT NULL,
    agents_configured INTEGER NOT NULL,
    agreement REAL NOT NULL,
    captured_mass REAL NOT NULL,
    residual_mass REAL NOT NULL,
    low_confidence INTEGER NOT NULL,
    PRIMARY KEY (run_id, question_id),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE resolutions (
    id INTEGER PRIMARY KEY,
    question_id TEXT NOT NULL REFERENCES questions(id),
    outcome REAL CHECK (outcome IS NULL OR outcome IN (0, 1)),
    resolved_at TEXT NOT NULL,
    source TEXT NOT NULL,
    recorded_at TEXT NOT NULL
);
CREATE INDEX resolutions_by_question ON resolutions (question_id, id);
CREATE TABLE calibrations (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    forecaster TEXT NOT NULL,
    method TEXT NOT NULL,
    parameters TEXT NOT NULL CHECK (json_valid(parameters)),
    questions INTEGER NOT NULL,
    clusters INTEGER NOT NULL,
    raw_brier REAL NOT NULL,
    calibrated_brier REAL NOT NULL
);
CREATE TABLE calibrated_forecasts (
    calibration_id INTEGER NOT NULL REFERENCES calibrations(id) ON DELETE CASCADE,
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    raw REAL NOT NULL,
    calibrated REAL NOT NULL,
    out_of_fold INTEGER NOT NULL,
    PRIMARY KEY (calibration_id, run_id, question_id),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE coherence (
    run_id INTEGER NOT NULL,
    question_id TEXT NOT NULL,
    forecaster TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('negation', 'paraphrase')),
    probability REAL NOT NULL,
    others TEXT NOT NULL CHECK (json_valid(others)),
    gap REAL NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (run_id, question_id, forecaster, kind),
    FOREIGN KEY (run_id, question_id) REFERENCES run_questions(run_id, question_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE run_models (
    run_id INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    agent TEXT NOT NULL,
    weights TEXT NOT NULL,
    PRIMARY KEY (run_id, agent)
) WITHOUT ROWID;
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
CREATE VIEW evidence_trail AS
    SELECT f.run_id AS run, r.started_at, f.question_id, coalesce(json_extract(rq.asked, '$.text'), q.text) AS question,
           rq.as_of, f.agent, f.chunk, e.used, e.number, e.rank, e.score, a.source, a.title, p.section, a.revision_id,
           a.timestamp AS revised_at, a.url, p.text AS passage, a.text_sha256, f.prompt_sha256
    FROM evidence e JOIN forecasts f ON f.id = e.forecast_id JOIN runs r ON r.id = f.run_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id JOIN questions q ON q.id = f.question_id
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id
    ORDER BY f.run_id, rq.position, f.agent, f.chunk, e.number;
INSERT INTO runs VALUES (1, '2026-01-05T10:00:00Z', '2026-01-05T10:00:00Z', 'finished', NULL, 1, '{"today": "2026-01-05"}', '{}', NULL, NULL);
INSERT INTO runs VALUES (2, '2026-01-12T10:00:00Z', '2026-01-12T10:00:00Z', 'finished', NULL, 1, '{"today": "2026-01-12"}', '{}', NULL, NULL);
INSERT INTO runs VALUES (3, '2026-01-19T10:00:00Z', '2026-01-19T10:00:00Z', 'finished', NULL, 1, '{"today": "2026-01-19"}', '{}', NULL, NULL);
INSERT INTO questions VALUES ('1', 'Will Brent close above 100 dollars before 2028?', '', '', '2028-01-01', '{"crowd": "0.7"}', '2026-01-05T10:00:00Z');
INSERT INTO questions VALUES ('2', 'will turkey JOIN the European Union before 2040', '', '', NULL, '{}', '2026-01-05T10:00:00Z');
INSERT INTO run_questions VALUES (1, '1', 0, NULL, '2026-01-05T10:00:00Z', NULL, '{"as_of": null, "background": "", "close_date": "2030-01-01", "extra": {"crowd": "0.1"}, "id": "1", "resolution_criteria": "", "text": "Will Norway join the European Union before 2030?"}');
INSERT INTO run_questions VALUES (1, '2', 1, NULL, '2026-01-05T10:00:00Z', NULL, '{"as_of": null, "background": "", "close_date": null, "extra": {}, "id": "2", "resolution_criteria": "", "text": "Will Turkey join the European Union before 2040?"}');
INSERT INTO run_questions VALUES (2, '1', 0, NULL, '2026-01-12T10:00:00Z', NULL, '{"as_of": null, "background": "", "close_date": "2028-01-01", "extra": {"crowd": "0.6"}, "id": "1", "resolution_criteria": "", "text": "Will Brent close above 100 dollars before 2028?"}');
INSERT INTO run_questions VALUES (2, '2', 1, NULL, '2026-01-12T10:00:00Z', NULL, '{"as_of": null, "background": "", "close_date": null, "extra": {}, "id": "2", "resolution_criteria": "", "text": "will turkey JOIN the European Union before 2040"}');
INSERT INTO run_questions VALUES (3, '1', 0, NULL, '2026-01-19T10:00:00Z', NULL, '{"as_of": null, "background": "", "close_date": "2028-01-01", "extra": {"crowd": "0.7"}, "id": "1", "resolution_criteria": "", "text": "Will Brent close above 100 dollars before 2028?"}');
INSERT INTO articles VALUES (1, 'wikipedia', 'T', 'r1', '2025-01-01T00:00:00Z', 'https://example.org', 'ferries sail', '0b49e6346b2151168f8636dcd0bd7ab845dc22357ad9ec1e6c61ed5ee0d47f04', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
INSERT INTO passages VALUES (1, 1, 0, 'S', 'ferries sail', 2);
INSERT INTO retrievals VALUES (1, '1', 1, 1, 0.5);
INSERT INTO retrievals VALUES (1, '2', 1, 1, 0.5);
INSERT INTO retrievals VALUES (2, '1', 1, 1, 0.5);
INSERT INTO retrievals VALUES (2, '2', 1, 1, 0.5);
INSERT INTO retrievals VALUES (3, '1', 1, 1, 0.5);
INSERT INTO prompts VALUES ('111ce3227c12714dd51483988a638e0426cbbba49d973fb229cb4ab9ab8c3620', 'Will Brent close above 100 dollars before 2028?!');
INSERT INTO prompts VALUES ('1c73c5a8f5b886188f7272018c91021a02820c9483700ca9bae747cc2de898b0', 'will turkey JOIN the European Union before 2040');
INSERT INTO prompts VALUES ('2a9cfbc81a085b003075ba23242c35359af2a3126c563f04c5ed81c33cb5aa22', 'Will Brent close above 100 dollars before 2028?');
INSERT INTO prompts VALUES ('3945af55714765df9ee6c23d34516fe5954e3c55d66f57dcc6a049032f199c08', 'will turkey JOIN the European Union before 2040!');
INSERT INTO prompts VALUES ('4952cdf489eb0d8a03972c4bddd7d3d5d9bd68c1e8cc1fa556bd9807c8ef7659', 'Will Norway join the European Union before 2030?!');
INSERT INTO prompts VALUES ('4b59dd17f3067c9adcbcfdbab9bf8f81a37cce0361a770885809f5b2a95d0e66', 'Will Norway join the European Union before 2030?');
INSERT INTO prompts VALUES ('5f0b38a6c1817b3f55657eff25d10837a58127d939e1ecfa7a1a8d244338fc25', 'Will Turkey join the European Union before 2040?!');
INSERT INTO prompts VALUES ('b51ccff5555a4ed7fa713f7aa829f64c9374dd32387f4d7a02733c4c756eea12', 'Will Turkey join the European Union before 2040?');
INSERT INTO forecasts VALUES (1, 1, '1', 'm', 0, 'org/m', '2026-01-05T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 0.9, 0.01, 0, '4b59dd17f3067c9adcbcfdbab9bf8f81a37cce0361a770885809f5b2a95d0e66', 0, 0, 0, 0.0, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO forecasts VALUES (2, 1, '2', 'm', 0, 'org/m', '2026-01-05T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 0.9, 0.01, 0, 'b51ccff5555a4ed7fa713f7aa829f64c9374dd32387f4d7a02733c4c756eea12', 0, 0, 0, 0.0, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO forecasts VALUES (3, 2, '1', 'm', 0, 'org/m', '2026-01-12T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 0.9, 0.01, 0, '2a9cfbc81a085b003075ba23242c35359af2a3126c563f04c5ed81c33cb5aa22', 0, 0, 0, 0.0, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO forecasts VALUES (4, 2, '2', 'm', 0, 'org/m', '2026-01-12T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 0.9, 0.01, 0, '1c73c5a8f5b886188f7272018c91021a02820c9483700ca9bae747cc2de898b0', 0, 0, 0, 0.0, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO forecasts VALUES (5, 3, '1', 'm', 0, 'org/m', '2026-01-19T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 0.9, 0.01, 0, '2a9cfbc81a085b003075ba23242c35359af2a3126c563f04c5ed81c33cb5aa22', 0, 0, 0, 0.0, NULL, NULL, NULL, 0, NULL, NULL, NULL);
INSERT INTO evidence VALUES (1, 1, 1, 1, 0.5, 1);
INSERT INTO evidence VALUES (2, 1, 1, 1, 0.5, 1);
INSERT INTO evidence VALUES (3, 1, 1, 1, 0.5, 1);
INSERT INTO evidence VALUES (4, 1, 1, 1, 0.5, 1);
INSERT INTO evidence VALUES (5, 1, 1, 1, 0.5, 1);
INSERT INTO ensembles VALUES (1, '1', 'mean', '2026-01-05T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 1, 1, 1.0, 0.9, 0.01, 0);
INSERT INTO ensembles VALUES (1, '2', 'mean', '2026-01-05T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 1, 1, 1.0, 0.9, 0.01, 0);
INSERT INTO ensembles VALUES (2, '1', 'mean', '2026-01-12T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0, 1, 1, 1.0, 0.9, 0.01, 0);
INSERT INTO ensembles VALUES (2, '2', 'mean', '2026-01-12T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 25.0, 1, 1, 1.0, 0.9, 0.01, 0);
INSERT INTO ensembles VALUES (3, '1', 'mean', '2026-01-19T10:00:00Z', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 1, 1, 1.0, 0.9, 0.01, 0);
INSERT INTO resolutions VALUES (1, '1', 0.0, '2026-01-08', 'newspaper', '2026-01-08T12:00:00Z');
INSERT INTO resolutions VALUES (2, '1', 1.0, '2026-01-20', 'exchange', '2026-01-20T12:00:00Z');
INSERT INTO calibrations VALUES (1, '2026-01-21T10:00:00Z', 'ensemble', 'platt', '{"weights": [1.0, 0.0]}', 50, 50, 0.2, 0.19);
INSERT INTO calibrated_forecasts VALUES (1, 1, '1', 0.1, 0.15, 0);
INSERT INTO calibrated_forecasts VALUES (1, 2, '1', 0.6, 0.55, 0);
INSERT INTO calibrated_forecasts VALUES (1, 3, '1', 0.7, 0.65, 0);
INSERT INTO coherence VALUES (1, '1', 'm', 'negation', 0.1, '{"x": 0.5}', 0.1, '2026-01-05T10:00:00Z');
INSERT INTO coherence VALUES (1, '2', 'm', 'negation', 0.2, '{"x": 0.5}', 0.1, '2026-01-05T10:00:00Z');
INSERT INTO coherence VALUES (2, '1', 'm', 'negation', 0.6, '{"x": 0.5}', 0.1, '2026-01-12T10:00:00Z');
INSERT INTO coherence VALUES (2, '2', 'm', 'negation', 0.25, '{"x": 0.5}', 0.1, '2026-01-12T10:00:00Z');
INSERT INTO coherence VALUES (3, '1', 'm', 'negation', 0.7, '{"x": 0.5}', 0.1, '2026-01-19T10:00:00Z');
INSERT INTO reasonings VALUES (1, '1', 0, 0, 'org/l', '2026-01-05T10:00:00Z', 'Because.', 2, 'stop', 0, 1);
INSERT INTO reasonings VALUES (1, '2', 0, 0, 'org/l', '2026-01-05T10:00:00Z', 'Because.', 2, 'stop', 0, 1);
INSERT INTO reasonings VALUES (2, '1', 0, 0, 'org/l', '2026-01-12T10:00:00Z', 'Because.', 2, 'stop', 0, 1);
INSERT INTO reasonings VALUES (2, '2', 0, 0, 'org/l', '2026-01-12T10:00:00Z', 'Because.', 2, 'stop', 0, 1);
INSERT INTO reasonings VALUES (3, '1', 0, 0, 'org/l', '2026-01-19T10:00:00Z', 'Because.', 2, 'stop', 0, 1);
INSERT INTO ablations VALUES (1, 'no_evidence', '4952cdf489eb0d8a03972c4bddd7d3d5d9bd68c1e8cc1fa556bd9807c8ef7659', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 10.0, 0.9, 0.01, 0.0, 0.0, NULL);
INSERT INTO ablations VALUES (2, 'no_evidence', '5f0b38a6c1817b3f55657eff25d10837a58127d939e1ecfa7a1a8d244338fc25', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 20.0, 0.9, 0.01, 0.0, 0.0, NULL);
INSERT INTO ablations VALUES (3, 'no_evidence', '111ce3227c12714dd51483988a638e0426cbbba49d973fb229cb4ab9ab8c3620', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 60.0, 0.9, 0.01, 0.0, 0.0, NULL);
INSERT INTO ablations VALUES (4, 'no_evidence', '3945af55714765df9ee6c23d34516fe5954e3c55d66f57dcc6a049032f199c08', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 25.0, 0.9, 0.01, 0.0, 0.0, NULL);
INSERT INTO ablations VALUES (5, 'no_evidence', '111ce3227c12714dd51483988a638e0426cbbba49d973fb229cb4ab9ab8c3620', '[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]', 70.0, 0.9, 0.01, 0.0, 0.0, NULL);
INSERT INTO passage_words (rowid, title, section, text) VALUES (1, 'T', 'S', 'ferries sail');
COMMIT;
