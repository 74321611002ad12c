CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'finished', 'partial', 'interrupted', 'failed')),
    as_of TEXT,
    seed INTEGER NOT NULL,
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    versions TEXT NOT NULL CHECK (json_valid(versions))
);
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
    context_error TEXT,
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
-- Words of title, section and text for BM25; its rowid is the passage's id. Contentless: the text is not stored twice.
CREATE VIRTUAL TABLE passage_words USING fts5 (
    title, section, text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
-- A rowid table on purpose: 1.5 kB vectors in a WITHOUT ROWID tree would each spill into an overflow page.
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
    context_error TEXT,
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

CREATE VIEW forecast_history AS
    SELECT r.id AS run, r.started_at, q.id AS question_id, q.text AS question, f.agent, f.chunk,
           f.mean, f.median, f.p10, f.p90, f.entropy, f.captured_mass, f.residual_mass, f.low_confidence, f.error
    FROM forecasts f JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id
    UNION ALL
    SELECT r.id, r.started_at, q.id, q.text, 'ensemble', 0,
           e.mean, e.median, e.p10, e.p90, e.entropy, e.captured_mass, e.residual_mass, e.low_confidence, NULL
    FROM ensembles e JOIN runs r ON r.id = e.run_id JOIN questions q ON q.id = e.question_id;
CREATE VIEW latest_forecasts AS
    SELECT * FROM forecast_history h
    WHERE run = (SELECT max(run) FROM forecast_history l
                 WHERE l.question_id = h.question_id AND l.agent = h.agent AND l.chunk = h.chunk);
