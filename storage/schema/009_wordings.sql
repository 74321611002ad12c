-- Each wording and close date of a question once, with the last run (no replay) that asked it so: a new run compares its
-- questions with these, not with every question of every run. "close_date" is '' where there was none.
CREATE TABLE wordings (
    question_id TEXT NOT NULL,
    text TEXT NOT NULL,
    close_date TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (question_id, text, close_date)
) STRICT, WITHOUT ROWID;
INSERT INTO wordings
    SELECT rq.question_id, coalesce(json_extract(rq.asked, '$.text'), q.text),
           coalesce(json_extract(rq.asked, '$.close_date'), ''), max(rq.run_id), rq.position
    FROM run_questions rq JOIN questions q ON q.id = rq.question_id JOIN runs r ON r.id = rq.run_id
    WHERE r.origin_run IS NULL GROUP BY 1, 2, 3;
