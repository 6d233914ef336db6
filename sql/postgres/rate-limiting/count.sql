-- Counts requests: lets as many through as every limit of their sender allows, and returns how many those are and what
-- was counted with them. One array position for each sender. Rows are locked in the order of their keys, so that
-- nodes that count the same senders do not wait for each other in a circle. A window only moves forward, whatever the
-- clocks of nodes say.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::bytea[], $2::bigint[], $3::bigint[],
        $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]
    ) AS sender (
        key, requests, expires_at,
        second_start, second_limit, minute_start, minute_limit, hour_start, hour_limit,
        day_start, day_limit, month_start, month_limit, year_start, year_limit)
)
INSERT INTO rate_limiting_counters AS kept (
    key, expires_at, granted,
    second_start, second_count,
    minute_start, minute_count,
    hour_start, hour_count,
    day_start, day_count,
    month_start, month_count,
    year_start, year_count)
SELECT key, expires_at, new.granted,
    second_start, new.granted,
    minute_start, new.granted,
    hour_start, new.granted,
    day_start, new.granted,
    month_start, new.granted,
    year_start, new.granted
FROM asked
CROSS JOIN LATERAL (
    SELECT LEAST(requests, second_limit, minute_limit, hour_limit, day_limit, month_limit, year_limit) AS granted
) AS new
ORDER BY key
ON CONFLICT (key) DO UPDATE SET (
    expires_at, granted,
    second_start, second_count,
    minute_start, minute_count,
    hour_start, hour_count,
    day_start, day_count,
    month_start, month_count,
    year_start, year_count
) = (
    SELECT GREATEST(kept.expires_at, asked.expires_at), new.granted,
        GREATEST(kept.second_start, asked.second_start), used.second + new.granted,
        GREATEST(kept.minute_start, asked.minute_start), used.minute + new.granted,
        GREATEST(kept.hour_start, asked.hour_start), used.hour + new.granted,
        GREATEST(kept.day_start, asked.day_start), used.day + new.granted,
        GREATEST(kept.month_start, asked.month_start), used.month + new.granted,
        GREATEST(kept.year_start, asked.year_start), used.year + new.granted
    FROM asked
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN kept.second_start < asked.second_start THEN 0 ELSE kept.second_count END AS second,
            CASE WHEN kept.minute_start < asked.minute_start THEN 0 ELSE kept.minute_count END AS minute,
            CASE WHEN kept.hour_start < asked.hour_start THEN 0 ELSE kept.hour_count END AS hour,
            CASE WHEN kept.day_start < asked.day_start THEN 0 ELSE kept.day_count END AS day,
            CASE WHEN kept.month_start < asked.month_start THEN 0 ELSE kept.month_count END AS month,
            CASE WHEN kept.year_start < asked.year_start THEN 0 ELSE kept.year_count END AS year
    ) AS used
    CROSS JOIN LATERAL (
        SELECT GREATEST(0, LEAST(
            asked.requests,
            asked.second_limit - used.second,
            asked.minute_limit - used.minute,
            asked.hour_limit - used.hour,
            asked.day_limit - used.day,
            asked.month_limit - used.month,
            asked.year_limit - used.year
        )) AS granted
    ) AS new
    WHERE asked.key = kept.key
)
RETURNING key, granted, second_count, minute_count, hour_count, day_count, month_count, year_count
