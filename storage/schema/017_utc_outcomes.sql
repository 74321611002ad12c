-- Moments at which outcomes were known are UTC with "Z" as all others are: their first ten
-- characters are their day.
UPDATE resolutions SET resolved_at = strftime('%Y-%m-%dT%H:%M:%SZ', resolved_at)
    WHERE length(resolved_at) > 10 AND resolved_at <> strftime('%Y-%m-%dT%H:%M:%SZ', resolved_at);
