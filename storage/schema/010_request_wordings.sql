-- SCORING_WORDINGS: what was read after each wording of the request (0 the usual one, 1 the one that asks for no, turned
-- round), and on the forecast their standard deviation in percentage points.
CREATE TABLE scored_wordings (
    forecast_id INTEGER NOT NULL REFERENCES forecasts(id) ON DELETE CASCADE,
    wording INTEGER NOT NULL,
    mean REAL NOT NULL,
    probabilities TEXT NOT NULL CHECK (json_array_length(probabilities) = 101),
    PRIMARY KEY (forecast_id, wording)
) STRICT, WITHOUT ROWID;
ALTER TABLE forecasts ADD COLUMN wording_deviation REAL;
