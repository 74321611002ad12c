-- What was unusual about a forecast and changed no number: a served model's replica was lost and another was asked.
ALTER TABLE forecasts ADD COLUMN note TEXT;
