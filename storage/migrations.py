"""Define the schema as numbered migrations; a released one is never changed."""

from __future__ import annotations

from typing import Final

# Columns that summarise a distribution.
STATISTICS: Final = ("mean", "median", "mode", "standard_deviation", "p10", "p90", "entropy")

_STATISTICS_COLUMNS = ",\n    ".join(f"{name} REAL" for name in STATISTICS)

_MIGRATION_1 = f"""
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
    {_STATISTICS_COLUMNS},
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
    {_STATISTICS_COLUMNS},
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
"""  # noqa: S608 - column names of this module

# Resume and replay: who works on a run, which run it repeats, each question exactly as this run asked it (the table
# questions keeps the newest wording only), and which weights each model had. A replay is a check of an earlier forecast
# and no forecast of its own, so the views leave it out.
_MIGRATION_2 = """
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
"""

# Reasoning before the number: what the logic model wrote, the distribution read after each of its samples, and on the
# forecast how many samples it is the mean of and how their spread divides (standard deviations in percent).
_MIGRATION_3 = """
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
"""

# Ablation: each forecast beside the same work without reasoning, evidence, or both; the view has the pairs by name.
_MIGRATION_4 = """
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
"""

# Which passage of which revision stood in which prompt under which number, or was dropped for want of room (used = 0): a question
# in the words of its run, the permanent link of the revision, and the hash of the text that was cut into passages.
_MIGRATION_5 = """
CREATE VIEW evidence_trail AS
    SELECT f.run_id AS run, r.started_at, f.question_id, coalesce(json_extract(rq.asked, '$.text'), q.text) AS question,
           rq.as_of, f.agent, f.chunk, e.used, e.number, e.rank, e.score, a.source, a.title, p.section, a.revision_id,
           a.timestamp AS revised_at, a.url, p.text AS passage, a.text_sha256, f.prompt_sha256
    FROM evidence e JOIN forecasts f ON f.id = e.forecast_id JOIN runs r ON r.id = f.run_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id JOIN questions q ON q.id = f.question_id
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id
    ORDER BY f.run_id, rq.position, f.agent, f.chunk, e.number;
"""

# Identity and the record: ``subject`` joins the histories and outcomes of questions (the id, unless a file or the user joins
# several ids), ``asked`` is there for every run and is what the views show, and what was forecast as of a past day
# (back-dated) is a record of its own beside what was forecast live. ``weights`` and ``weakest_captured`` say how much each
# agent counted in a pool and the least captured mass among them. ``calibrated`` is the newest calibration's value in percent.
_TEXT = "json_extract(rq.asked, '$.text')"
_RECORD = "CASE WHEN rq.as_of IS NULL THEN 'live' ELSE 'back-dated' END"


# The pool's name among the forecasters, as an SQL text.
ENSEMBLE: Final = "'ensemble'"


def calibrated(alias: str, forecaster: str, value: str = "100 * c.calibrated") -> str:
    """Write SQL for a row's newest calibrated value (percent); ``rq`` is its question."""
    return f"""(SELECT {value} FROM calibrated_forecasts c JOIN calibrations k ON k.id = c.calibration_id
            WHERE c.run_id = {alias}.run_id AND c.question_id = {alias}.question_id AND k.forecaster = {forecaster}
            AND k.record = {_RECORD} ORDER BY k.id DESC LIMIT 1)"""  # noqa: S608 - names of this module


_MIGRATION_6 = f"""
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
    SELECT r.id AS run, r.started_at, f.question_id, {_TEXT} AS question, f.agent, f.chunk,
           f.mean, f.median, f.p10, f.p90, f.entropy, f.captured_mass, f.residual_mass, f.low_confidence, f.error,
           q.subject, rq.as_of, {_RECORD} AS record, NULL AS agents, NULL AS agents_configured,
           {calibrated("f", "f.agent")} AS calibrated
    FROM forecasts f JOIN runs r ON r.id = f.run_id JOIN questions q ON q.id = f.question_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id
    WHERE r.origin_run IS NULL
    UNION ALL
    SELECT r.id, r.started_at, e.question_id, {_TEXT}, 'ensemble', 0,
           e.mean, e.median, e.p10, e.p90, e.entropy, e.captured_mass, e.residual_mass, e.low_confidence, NULL,
           q.subject, rq.as_of, {_RECORD}, e.agents, e.agents_configured, {calibrated("e", ENSEMBLE)}
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
    SELECT f.run_id AS run, f.question_id, {_TEXT} AS question, f.agent, f.chunk, a.condition,
           f.mean AS full_mean, a.mean, a.shift, a.divergence, a.captured_mass, a.residual_mass, a.error
    FROM ablations a JOIN forecasts f ON f.id = a.forecast_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id;
CREATE VIEW evidence_trail AS
    SELECT f.run_id AS run, r.started_at, f.question_id, {_TEXT} AS question,
           rq.as_of, f.agent, f.chunk, e.used, e.number, e.rank, e.score, a.source, a.title, p.section, a.revision_id,
           a.timestamp AS revised_at, a.url, p.text AS passage, a.text_sha256, f.prompt_sha256
    FROM evidence e JOIN forecasts f ON f.id = e.forecast_id JOIN runs r ON r.id = f.run_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id
    ORDER BY f.run_id, rq.position, f.agent, f.chunk, e.number;
"""  # noqa: S608 - names of this module

MIGRATIONS: Final[tuple[str, ...]] = (
    _MIGRATION_1, _MIGRATION_2, _MIGRATION_3, _MIGRATION_4, _MIGRATION_5, _MIGRATION_6,
)  # fmt: skip
SCHEMA_VERSION: Final = len(MIGRATIONS)
# The one at which ids that stood for unrelated questions are split (``record_repair``).
SPLITTING_SCHEMA: Final = 6
