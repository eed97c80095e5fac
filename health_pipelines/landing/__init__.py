"""What the assets of all vendors share: days, landed events, checks, freshness, failures, claims of runs."""
