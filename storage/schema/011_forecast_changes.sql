-- The passages that each prompt quoted.
CREATE VIEW prompt_passages AS
    SELECT f.run_id AS run, f.question_id, f.agent, f.chunk, a.source, a.title, p.text
    FROM forecasts f JOIN evidence e ON e.forecast_id = f.id AND e.used
    JOIN passages p ON p.id = e.passage_id JOIN articles a ON a.id = p.article_id;
-- What changed since the last run of each question in the same record, replays left out: both runs' numbers in percent, the
-- points between them, and what differs. The models' change is like for like: where the models differ, the mean pool of those
-- that both runs have is taken (parts of the evidence count alike), and pools of other methods have none. Of several
-- questions of one subject in the earlier run the one of the same id counts, else the last.
CREATE VIEW forecast_changes AS
    WITH asked AS NOT MATERIALIZED (
        SELECT n.run_id, n.question_id, q.subject, rq.as_of, rq.position, rq.asked, n.mean, n.method, n.weights,
               coalesce((SELECT 100 * d.final FROM final_numbers d
                WHERE d.run_id = n.run_id AND d.question_id = n.question_id AND d.final <> d.models), n.mean) AS final,
               (SELECT json_group_array(agent) FROM (SELECT DISTINCT f.agent FROM forecasts f WHERE f.run_id = n.run_id
                AND f.question_id = n.question_id AND f.error IS NULL ORDER BY f.agent)) AS agents
        FROM ensembles n JOIN questions q ON q.id = n.question_id
        JOIN run_questions rq ON rq.run_id = n.run_id AND rq.question_id = n.question_id
        JOIN runs r ON r.id = n.run_id WHERE r.origin_run IS NULL),
    earlier AS NOT MATERIALIZED (
        SELECT a.*, (SELECT max(p.run_id) FROM questions s JOIN run_questions p ON p.question_id = s.id
                     JOIN runs o ON o.id = p.run_id JOIN ensembles e ON e.run_id = p.run_id AND e.question_id = p.question_id
                     WHERE s.subject = a.subject AND p.run_id < a.run_id AND (p.as_of IS NULL) = (a.as_of IS NULL)
                     AND o.origin_run IS NULL) AS run_before
        FROM asked a),
    pairs AS NOT MATERIALIZED (
        SELECT y.*, coalesce(
                   (SELECT n.question_id FROM ensembles n WHERE n.run_id = y.run_before AND n.question_id = y.question_id),
                   (SELECT p.question_id FROM questions s JOIN run_questions p ON p.question_id = s.id
                    JOIN ensembles n ON n.run_id = p.run_id AND n.question_id = p.question_id
                    WHERE p.run_id = y.run_before AND s.subject = y.subject AND (p.as_of IS NULL) = (y.as_of IS NULL)
                    ORDER BY p.position DESC LIMIT 1)) AS question_before
        FROM earlier y WHERE y.run_before IS NOT NULL)
    SELECT p.run_id AS run, p.question_id, json_extract(p.asked, '$.text') AS question, p.subject, p.as_of, p.position,
           p.run_before, p.question_before, p.mean AS models, b.mean AS models_before,
           CASE WHEN p.agents = b.agents AND p.method = b.method THEN p.mean - b.mean
                WHEN p.method = 'mean' THEN
                (SELECT sum(v.weight * v.mean) / sum(v.weight) FROM (
                     SELECT avg(f.mean) AS mean, coalesce(w.value, 1) AS weight FROM forecasts f
                     LEFT JOIN json_each(p.weights) w ON w.key = f.agent
                     WHERE f.run_id = p.run_id AND f.question_id = p.question_id AND f.error IS NULL
                     AND f.agent IN (SELECT value FROM json_each(b.agents)) GROUP BY f.agent) v)
              - (SELECT sum(v.weight * v.mean) / sum(v.weight) FROM (
                     SELECT avg(f.mean) AS mean, coalesce(w.value, 1) AS weight FROM forecasts f
                     LEFT JOIN json_each(CASE WHEN b.method = 'mean' THEN b.weights END) w ON w.key = f.agent
                     WHERE f.run_id = b.run_id AND f.question_id = b.question_id AND f.error IS NULL
                     AND f.agent IN (SELECT value FROM json_each(p.agents)) GROUP BY f.agent) v) END AS models_change,
           p.final, b.final AS final_before, CASE WHEN p.agents = b.agents THEN p.final - b.final END AS final_change,
           p.agents, b.agents AS agents_before,
           (SELECT count(*) FROM (SELECT DISTINCT x.source, x.title, x.text FROM prompt_passages x
                                  WHERE x.run = p.run_id AND x.question_id = p.question_id)) AS passages,
           (SELECT count(*) FROM (
               SELECT x.source, x.title, x.text FROM prompt_passages x WHERE x.run = p.run_id AND x.question_id = p.question_id
               EXCEPT SELECT x.source, x.title, x.text FROM prompt_passages x
               WHERE x.run = b.run_id AND x.question_id = b.question_id)) AS passages_new,
           (SELECT count(*) FROM (
               SELECT x.source, x.title, x.text FROM prompt_passages x WHERE x.run = b.run_id AND x.question_id = b.question_id
               EXCEPT SELECT x.source, x.title, x.text FROM prompt_passages x
               WHERE x.run = p.run_id AND x.question_id = p.question_id)) AS passages_gone,
           json_extract(p.asked, '$.text', '$.background', '$.resolution_criteria', '$.close_date')
           IS NOT json_extract(b.asked, '$.text', '$.background', '$.resolution_criteria', '$.close_date') AS wording_differs
    FROM pairs p JOIN asked b ON b.run_id = p.run_before AND b.question_id = p.question_before;
