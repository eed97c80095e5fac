-- One row for each visit of the three visit reports, in its newest version.
-- Grain: a visit in a report.
-- Key: report_type, visit_id.
-- Source: current.avr_virtual, current.avr_retail, current.avr_provider_booking.
-- Kept as: view.
-- Which columns of a report are the visit's id, time, status and wait is said by the settings
-- DEXCARE_AVR_VIRTUAL_KEY, _TIME, _STATUS, _WAIT_FROM and _WAIT_UNTIL, and the same for RETAIL and
-- PROVIDER_BOOKING; what they do not say is guessed from what landed, if it is clear. What is not known is NULL
-- here. A report without a key shows every landed row, so that a visit found by two days counts twice.
-- The booking mechanism follows from the report: virtual visits enter a waiting room on booking
-- (provider-agnostic, on-demand), clinic visits are booked for a time with whoever is on duty
-- (provider-agnostic, scheduled), provider bookings with one provider (provider-specific, scheduled). A
-- patient who walks into a clinic is in the retail report too and counts as scheduled: no documented column
-- tells the two apart.
-- Left out: rows without a visit id, where the report has a key.
--
-- Columns:
-- visit_id: The report's key of the visit. NULL if it is not known which column that is.
-- report_type: virtual, retail or provider_booking: the report that has the visit.
-- provider_type: provider-agnostic or provider-specific, in DexCare's terms.
-- booking_type: scheduled or on-demand, in DexCare's terms.
-- visit_time: When the visit is or was. NULL if it is missing or cannot be read.
-- visit_day: The calendar day of visit_time in the health system's time zone.
-- status: The status as the report says it.
-- is_completed: Whether the status is completed, in upper or lower case.
-- is_cancelled: Whether the status is cancelled or canceled, in upper or lower case.
-- wait_from: When the patient began to wait.
-- wait_until: When the wait was over.
-- wait_seconds: From wait_from to wait_until. NULL if either is missing; negative if the report says so.
-- _partition_date: The day whose report has this version.
-- _report_id: The report that has this version.
-- _extracted_at: When this version was extracted.
WITH visits AS (
    SELECT visit_id, 'virtual' AS report_type, 'provider-agnostic' AS provider_type,
           'on-demand' AS booking_type, visit_time, visit_day, status, wait_from, wait_until,
           _partition_date, _report_id, _extracted_at
    FROM current.avr_virtual
    UNION ALL
    SELECT visit_id, 'retail', 'provider-agnostic', 'scheduled', visit_time, visit_day, status,
           wait_from, wait_until, _partition_date, _report_id, _extracted_at
    FROM current.avr_retail
    UNION ALL
    SELECT visit_id, 'provider_booking', 'provider-specific', 'scheduled', visit_time, visit_day, status,
           wait_from, wait_until, _partition_date, _report_id, _extracted_at
    FROM current.avr_provider_booking
)
SELECT visit_id, report_type, provider_type, booking_type, visit_time, visit_day, status,
       coalesce(lower(trim(status)) = 'completed', false) AS is_completed,
       coalesce(lower(trim(status)) IN ('cancelled', 'canceled'), false) AS is_cancelled,
       wait_from, wait_until, epoch(wait_until) - epoch(wait_from) AS wait_seconds,
       _partition_date, _report_id, _extracted_at
FROM visits
