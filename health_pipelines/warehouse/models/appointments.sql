-- One row for each DrChrono appointment that is not deleted, with what was billed for it.
-- Grain: an appointment.
-- Key: appointment_id.
-- Source: current.appointments, marts.charges.
-- Kept as: table.
-- Left out: deleted appointments, and breaks in a doctor's calendar (appt_is_break), which have no patient.
-- Archived and cancelled appointments are here, with their status.
--
-- Columns:
-- appointment_id: DrChrono's id of the appointment.
-- scheduled_time: When it is to begin. NULL if it is missing or cannot be read.
-- scheduled_day: The calendar day of scheduled_time in the health system's time zone.
-- duration_minutes: How long it is to last.
-- doctor_id: The doctor.
-- patient_id: The patient.
-- office_id: The office.
-- status: The status as DrChrono says it; empty or NULL for one that was only scheduled.
-- is_completed: Whether the status is Complete.
-- is_cancelled: Whether the status is Cancelled.
-- is_no_show: Whether the status is No Show.
-- is_walk_in: Whether the patient came without an appointment.
-- is_virtual: Whether it is a video visit.
-- billing_status: The state of its bill as DrChrono says it.
-- line_items: How many billing lines it has.
-- billed: What was billed for it, in dollars; 0 without billing lines.
-- balance: What is still open of that, in dollars.
-- created_at: When it was made.
-- updated_at: When it last changed.
WITH charged AS (
    SELECT appointment_id, count(*) AS line_items, sum(billed) AS billed, sum(balance) AS balance
    FROM marts.charges
    GROUP BY appointment_id
)
SELECT id AS appointment_id, scheduled_time, local_day(scheduled_time) AS scheduled_day,
       duration AS duration_minutes, doctor AS doctor_id, patient AS patient_id, office AS office_id, status,
       coalesce(lower(trim(status)) = 'complete', false) AS is_completed,
       coalesce(lower(trim(status)) IN ('cancelled', 'canceled'), false) AS is_cancelled,
       coalesce(lower(trim(status)) = 'no show', false) AS is_no_show,
       is_walk_in, is_virtual_base AS is_virtual, billing_status,
       coalesce(line_items, 0) AS line_items, coalesce(billed, 0) AS billed, coalesce(balance, 0) AS balance,
       created_at, updated_at
FROM current.appointments
LEFT JOIN charged ON charged.appointment_id = appointments.id
WHERE NOT is_deleted AND appt_is_break IS DISTINCT FROM true
ORDER BY appointment_id
