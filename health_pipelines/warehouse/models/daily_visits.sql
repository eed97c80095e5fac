-- How many visits there were on a day, and how long patients waited.
-- Grain: a day, a report type with its booking mechanism, and a status.
-- Key: day, report_type, status.
-- Source: marts.visits.
-- Kept as: table.
-- The day is that of the visit's time in the health system's time zone. Visits without a time that can be
-- read have the day NULL, so that the sum over all rows is the number of visits.
-- Left out: waits that are missing or negative are in no median and no p90; waits says how many are.
--
-- Columns:
-- day: The calendar day of the visit. NULL for visits without a time that can be read.
-- report_type: virtual, retail or provider_booking.
-- provider_type: provider-agnostic or provider-specific.
-- booking_type: scheduled or on-demand.
-- status: The status as the report says it. NULL if it says none.
-- visits: How many visits there are.
-- completed: How many of them are completed.
-- cancelled: How many of them are cancelled.
-- waits: How many of them have a wait of 0 seconds or more, which the next two columns are made of.
-- median_wait_seconds: Half of the waits are no longer than this.
-- p90_wait_seconds: Nine of ten waits are no longer than this. Between two waits, on the line between them.
SELECT visit_day AS day, report_type, provider_type, booking_type, status,
       count(*) AS visits,
       count(*) FILTER (is_completed) AS completed,
       count(*) FILTER (is_cancelled) AS cancelled,
       count(*) FILTER (wait_seconds >= 0) AS waits,
       quantile_cont(wait_seconds, 0.5) FILTER (wait_seconds >= 0) AS median_wait_seconds,
       quantile_cont(wait_seconds, 0.9) FILTER (wait_seconds >= 0) AS p90_wait_seconds
FROM marts.visits
GROUP BY ALL
ORDER BY ALL
