-- Which passage of which revision was in which prompt under which number, or did not fit (used = 0):
-- a question in the words of its run, the permanent link of the revision, and the hash of the text
-- that was cut into passages.
CREATE VIEW evidence_trail AS
    SELECT f.run_id AS run, r.started_at, f.question_id, coalesce(json_extract(rq.asked, '$.text'), q.text) AS question,
           rq.as_of, f.agent, f.chunk, e.used, e.number, e.rank, e.score, a.source, a.title, p.section, a.revision_id,
           a.timestamp AS revised_at, a.url, p.text AS passage, a.text_sha256, f.prompt_sha256
    FROM evidence e JOIN forecasts f ON f.id = e.forecast_id JOIN runs r ON r.id = f.run_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id JOIN questions q ON q.id = f.question_id
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id
    ORDER BY f.run_id, rq.position, f.agent, f.chunk, e.number;
