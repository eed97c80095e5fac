-- One row for each DrChrono billing line that is not deleted: what was billed, adjusted, paid, and is open.
-- Grain: a line item.
-- Key: line_item_id.
-- Source: current.line_items, current.transactions, current.appointments.
-- Kept as: table.
-- Amounts are the line item's own, in dollars, as DrChrono computes them. The two columns from transactions
-- are sums over the line's transactions, to be compared with them; DrChrono's transactions have payments of
-- insurers and adjustments, but no payments of patients.
-- Left out: deleted line items and their transactions. A line whose appointment is deleted or unknown is
-- here, and appointment_state says so.
--
-- Columns:
-- line_item_id: DrChrono's id of the billing line.
-- appointment_id: The appointment that is billed.
-- appointment_state: exists, deleted or missing (an orphan: no such appointment landed).
-- doctor_id: The doctor.
-- patient_id: The patient.
-- code: The code of the procedure.
-- service_date: The day of the service.
-- posted_date: The day on which the line was made.
-- billed: What was billed.
-- adjusted: By how much that was adjusted.
-- insurer_paid: What insurers paid: ins_total, or the sum of the three insurers if that is missing.
-- patient_paid: What the patient paid.
-- insurer_balance: What insurers still owe.
-- patient_balance: What the patient still owes.
-- balance: What is open: balance_total, or the sum of the two above if that is missing.
-- transactions: How many transactions there are.
-- insurer_paid_in_transactions: What insurers paid, by the transactions; 0 without any.
-- adjusted_in_transactions: By how much it was adjusted, by the transactions; 0 without any.
-- last_transaction_date: The newest posted_date of a transaction.
-- billing_status: The state of the bill as DrChrono says it.
-- updated_at: When the line last changed.
WITH paid AS (
    SELECT line_item, count(*) AS transactions, coalesce(sum(ins_paid), 0) AS ins_paid,
           coalesce(sum(adjustment), 0) AS adjustment, max(posted_date) AS last_date
    FROM current.transactions
    WHERE NOT is_deleted
    GROUP BY line_item
)
SELECT lines.id AS line_item_id, lines.appointment AS appointment_id,
       CASE WHEN appointments.id IS NULL THEN 'missing'
            WHEN appointments.is_deleted THEN 'deleted' ELSE 'exists' END AS appointment_state,
       lines.doctor AS doctor_id, lines.patient AS patient_id, lines.code, lines.service_date,
       lines.posted_date, lines.billed, lines.adjustment AS adjusted,
       coalesce(lines.ins_total,
                CASE WHEN coalesce(ins1_paid, ins2_paid, ins3_paid) IS NOT NULL
                     THEN coalesce(ins1_paid, 0) + coalesce(ins2_paid, 0) + coalesce(ins3_paid, 0) END)
           ::DECIMAL(18,4) AS insurer_paid,
       lines.pt_paid AS patient_paid, lines.balance_ins AS insurer_balance,
       lines.balance_pt AS patient_balance,
       coalesce(lines.balance_total,
                CASE WHEN coalesce(balance_ins, balance_pt) IS NOT NULL
                     THEN coalesce(balance_ins, 0) + coalesce(balance_pt, 0) END)::DECIMAL(18,4) AS balance,
       coalesce(paid.transactions, 0) AS transactions,
       coalesce(paid.ins_paid, 0) AS insurer_paid_in_transactions,
       coalesce(paid.adjustment, 0) AS adjusted_in_transactions,
       paid.last_date AS last_transaction_date, lines.billing_status, lines.updated_at
FROM current.line_items AS lines
LEFT JOIN paid ON paid.line_item = lines.id
LEFT JOIN current.appointments AS appointments ON appointments.id = lines.appointment
WHERE NOT lines.is_deleted
ORDER BY line_item_id
