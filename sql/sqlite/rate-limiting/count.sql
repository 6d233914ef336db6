-- Counts requests: lets as many through as every limit of their sender allows, and returns how many those are and what
-- was counted with them. A window only moves forward, whatever the clock says.
INSERT INTO rate_limiting_counters (
    key, expires_at, granted,
    second_start, second_count,
    minute_start, minute_count,
    hour_start, hour_count,
    day_start, day_count,
    month_start, month_count,
    year_start, year_count)
VALUES (?1, ?3, 0, ?4, 0, ?6, 0, ?8, 0, ?10, 0, ?12, 0, ?14, 0)
ON CONFLICT (key) DO NOTHING;
UPDATE rate_limiting_counters AS kept SET
    expires_at = max(kept.expires_at, ?3),
    granted = new.granted,
    second_start = max(kept.second_start, ?4), second_count = new.second + new.granted,
    minute_start = max(kept.minute_start, ?6), minute_count = new.minute + new.granted,
    hour_start = max(kept.hour_start, ?8), hour_count = new.hour + new.granted,
    day_start = max(kept.day_start, ?10), day_count = new.day + new.granted,
    month_start = max(kept.month_start, ?12), month_count = new.month + new.granted,
    year_start = max(kept.year_start, ?14), year_count = new.year + new.granted
FROM (
    SELECT used.*, max(0, min(
        ?2,
        ?5 - used.second,
        ?7 - used.minute,
        ?9 - used.hour,
        ?11 - used.day,
        ?13 - used.month,
        ?15 - used.year
    )) AS granted
    FROM (
        SELECT
            CASE WHEN second_start < ?4 THEN 0 ELSE second_count END AS second,
            CASE WHEN minute_start < ?6 THEN 0 ELSE minute_count END AS minute,
            CASE WHEN hour_start < ?8 THEN 0 ELSE hour_count END AS hour,
            CASE WHEN day_start < ?10 THEN 0 ELSE day_count END AS day,
            CASE WHEN month_start < ?12 THEN 0 ELSE month_count END AS month,
            CASE WHEN year_start < ?14 THEN 0 ELSE year_count END AS year
        FROM rate_limiting_counters WHERE key = ?1
    ) AS used
) AS new
WHERE kept.key = ?1
RETURNING key, granted, second_count, minute_count, hour_count, day_count, month_count, year_count
