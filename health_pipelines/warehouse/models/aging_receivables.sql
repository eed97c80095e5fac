-- What is still owed, by how long ago the service was.
-- Grain: a doctor and an age.
-- Key: doctor_id, age.
-- Source: marts.charges.
-- Kept as: table.
-- It follows the purpose of DrChrono's Aging Receivables report: open balances of billing lines in steps of
-- 30 days. DrChrono does not publish how that report counts days; here they run from the day of the service
-- to as_of_day, which is the day of the newest extraction of line items in the health system's time zone.
-- Counted: the balance of every billing line that is not 0; one below 0, a credit, lowers the sum. Lines
-- without a service date have the age unknown; services after as_of_day count as 0-30.
-- Left out: deleted lines, lines of deleted appointments, lines without a balance, and what patients paid
-- ahead without a line.
--
-- Columns:
-- doctor_id: The doctor of the billing lines.
-- age: 0-30, 31-60, 61-90, 91-120 or >120 days since the service, or unknown.
-- as_of_day: The day on which the age is counted.
-- line_items: How many billing lines have a balance.
-- patients: How many different patients they are for.
-- insurer_balance: What insurers owe, in dollars.
-- patient_balance: What patients owe, in dollars.
-- balance: What is owed altogether, in dollars, as DrChrono says of each line.
WITH as_of AS (
    SELECT local_day(max(_extracted_at)) AS day FROM current.line_items
), open AS (
    SELECT charges.*, as_of.day AS as_of_day, as_of.day - service_date AS days
    FROM marts.charges AS charges, as_of
    WHERE balance <> 0 AND appointment_state <> 'deleted'
)
SELECT doctor_id,
       CASE WHEN days IS NULL THEN 'unknown' WHEN days <= 30 THEN '0-30' WHEN days <= 60 THEN '31-60'
            WHEN days <= 90 THEN '61-90' WHEN days <= 120 THEN '91-120' ELSE '>120' END AS age,
       any_value(as_of_day) AS as_of_day, count(*) AS line_items, count(DISTINCT patient_id) AS patients,
       coalesce(sum(insurer_balance), 0) AS insurer_balance,
       coalesce(sum(patient_balance), 0) AS patient_balance, sum(balance) AS balance
FROM open
GROUP BY ALL
ORDER BY ALL
