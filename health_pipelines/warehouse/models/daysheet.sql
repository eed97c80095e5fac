-- What was posted on a day for a doctor: debits, credits and adjustments.
-- Grain: a day and a doctor.
-- Key: day, doctor_id.
-- Source: marts.charges, current.transactions, current.line_items.
-- Kept as: table.
-- It follows DrChrono's Financial Transactions report (once called Day Sheet) by posted date: debits are the
-- charges posted, credits the insurers' payments posted, adjustments the adjustments posted. A day is the
-- vendor's posted_date, which has no time and no zone.
-- Left out: patient payments (the vendor's fourth column), since the lists have them only as a sum of each
-- billing line, without a day; deleted billing lines and their transactions; lines and transactions of
-- deleted appointments. What has no posted_date is in rows with the day NULL.
--
-- Columns:
-- day: The day on which it was posted.
-- doctor_id: The doctor.
-- debits: Charges, in dollars.
-- credits: Payments of insurers, in dollars.
-- adjustments: Adjustments, in dollars.
-- line_items: How many billing lines were posted.
-- transactions: How many payments and adjustments were posted.
WITH gone AS (
    SELECT id FROM current.line_items WHERE is_deleted
    UNION ALL
    SELECT line_item_id FROM marts.charges WHERE appointment_state = 'deleted'
), deleted_appointments AS (
    SELECT id FROM current.appointments WHERE is_deleted
), posted AS (
    SELECT posted_date AS day, doctor_id, billed AS debit, NULL AS credit, NULL AS adjustment,
           1 AS line_item, 0 AS transaction
    FROM marts.charges
    WHERE appointment_state <> 'deleted'
    UNION ALL
    SELECT posted_date, doctor, NULL, ins_paid, adjustment, 0, 1
    FROM current.transactions
    WHERE NOT is_deleted
      AND NOT EXISTS (FROM gone WHERE gone.id = line_item)
      AND NOT EXISTS (FROM deleted_appointments WHERE deleted_appointments.id = appointment)
)
SELECT day, doctor_id, coalesce(sum(debit), 0) AS debits, coalesce(sum(credit), 0) AS credits,
       coalesce(sum(adjustment), 0) AS adjustments, sum(line_item)::BIGINT AS line_items,
       sum(transaction)::BIGINT AS transactions
FROM posted
GROUP BY ALL
ORDER BY ALL
