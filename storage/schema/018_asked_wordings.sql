-- These views also show a question as the run asked it: its newest wording may be another.
DROP VIEW thoughts_read;
DROP VIEW ablation_pairs;
CREATE VIEW thoughts_read AS
    SELECT t.run_id AS run, t.question_id, json_extract(rq.asked, '$.text') AS question, t.agent, t.chunk, t.sample, t.tokens,
           t.ended, t.cut, t.looped, t.empty, t.said, s.mean AS read, t.said - s.mean AS difference, t.answer, t.text
    FROM thoughts t JOIN run_questions rq ON rq.run_id = t.run_id AND rq.question_id = t.question_id
    LEFT JOIN forecasts f ON f.run_id = t.run_id AND f.question_id = t.question_id AND f.agent = t.agent AND f.chunk = t.chunk
    LEFT JOIN scored_samples s ON s.forecast_id = f.id AND s.sample = t.sample;
CREATE VIEW ablation_pairs AS
    SELECT f.run_id AS run, f.question_id, json_extract(rq.asked, '$.text') AS question, f.agent, f.chunk, a.condition,
           f.mean AS full_mean, a.mean, a.shift, a.divergence, a.captured_mass, a.residual_mass, a.error
    FROM ablations a JOIN forecasts f ON f.id = a.forecast_id
    JOIN run_questions rq ON rq.run_id = f.run_id AND rq.question_id = f.question_id;
