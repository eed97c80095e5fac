-- What happened to the visits of a provider on a day, from DexCare's provider histories.
-- Grain: a day, a provider and an action.
-- Key: day, provider_id, action.
-- Source: current.provider_histories.
-- Kept as: table.
-- The day is the partition's: the vendor found the event in that day's window. Which field of an event says
-- when it happened is not documented.
-- Left out: nothing; events without a provider or an action are in rows where that is NULL.
--
-- Columns:
-- day: The calendar day of the events in the health system's time zone.
-- provider_id: The provider's id (providerId).
-- provider_name: A name of the provider on that day; the last in the alphabet if there were several.
-- action: What happened (action), as the vendor says it.
-- events: How many such events there were.
-- visits: How many different visits they were about.
-- actors: How many different people did it; events without an actor (actorId) count for none.
SELECT _partition_date AS day, "providerId" AS provider_id, max("providerName") AS provider_name, action,
       count(*) AS events, count(DISTINCT "visitId") AS visits, count(DISTINCT "actorId") AS actors
FROM current.provider_histories
GROUP BY _partition_date, "providerId", action
ORDER BY ALL
