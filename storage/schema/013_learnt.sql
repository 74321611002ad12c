-- What runs learn from resolved questions, kept so that no run reads the whole record again. "version" counts the changes of
-- that record, whoever makes them: triggers notice them. Rows of an older version are not used.
CREATE TABLE record_state (
    version INTEGER NOT NULL,
    families INTEGER NOT NULL,
    families_rule INTEGER NOT NULL
) STRICT;
INSERT INTO record_state VALUES (1, 0, 0);
-- What was learnt from the questions that ended up to the day "cut": weights of the final number, and the runs and questions
-- behind them, each as RUN:QUESTION.
CREATE TABLE learnt_weights (
    cut TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    rule_version INTEGER NOT NULL,
    weights TEXT NOT NULL CHECK (json_valid(weights)),
    forecasts TEXT NOT NULL CHECK (json_valid(forecasts))
) STRICT;
CREATE TABLE learnt_curves (
    cut TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    rule_version INTEGER NOT NULL,
    method TEXT NOT NULL,
    parameters TEXT NOT NULL CHECK (json_valid(parameters)),
    count INTEGER NOT NULL,
    brier_before REAL,
    brier_after REAL,
    used INTEGER NOT NULL CHECK (used IN (0, 1)),
    reason TEXT NOT NULL,
    PRIMARY KEY (cut, kind)
) STRICT;
-- Resolved questions (by subject) under each family they belong to, for base rates.
CREATE TABLE family_members (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    known_on TEXT NOT NULL,
    id TEXT NOT NULL,
    month TEXT NOT NULL,
    outcome REAL NOT NULL,
    PRIMARY KEY (kind, name, known_on, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX family_members_by_id ON family_members (id, kind, name);
CREATE INDEX resolutions_by_day ON resolutions (substr(resolved_at, 1, 10));
CREATE TRIGGER resolutions_added AFTER INSERT ON resolutions BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER resolutions_changed AFTER UPDATE ON resolutions BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER resolutions_removed AFTER DELETE ON resolutions BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER questions_added AFTER INSERT ON questions
WHEN EXISTS (SELECT 1 FROM questions s JOIN resolutions o ON o.question_id = s.id WHERE s.subject = new.subject) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER questions_changed AFTER UPDATE ON questions
WHEN (old.id, old.subject, old.text, old.close_date, old.extra, old.created_at)
     IS NOT (new.id, new.subject, new.text, new.close_date, new.extra, new.created_at)
 AND (old.subject IS NOT new.subject OR old.id IS NOT new.id
      OR EXISTS (SELECT 1 FROM questions s JOIN resolutions o ON o.question_id = s.id WHERE s.subject = new.subject)) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER questions_removed AFTER DELETE ON questions BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER runs_changed AFTER UPDATE OF id, origin_run ON runs
WHEN (old.id, old.origin_run) IS NOT (new.id, new.origin_run) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER run_questions_changed AFTER UPDATE OF run_id, question_id, as_of, position, asked ON run_questions
WHEN (old.run_id, old.question_id, old.as_of, old.position, old.asked)
     IS NOT (new.run_id, new.question_id, new.as_of, new.position, new.asked) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER ensembles_added AFTER INSERT ON ensembles
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER ensembles_changed AFTER UPDATE ON ensembles
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER ensembles_removed AFTER DELETE ON ensembles
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = old.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER final_numbers_added AFTER INSERT ON final_numbers
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER final_numbers_changed AFTER UPDATE ON final_numbers
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER final_numbers_removed AFTER DELETE ON final_numbers
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = old.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER outside_views_added AFTER INSERT ON outside_views
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER outside_views_changed AFTER UPDATE ON outside_views
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = new.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
CREATE TRIGGER outside_views_removed AFTER DELETE ON outside_views
WHEN EXISTS (SELECT 1 FROM questions q JOIN questions s ON s.subject = q.subject
             JOIN resolutions o ON o.question_id = s.id WHERE q.id = old.question_id) BEGIN
    UPDATE record_state SET version = version + 1;
END;
