"""DrChrono over HTTP: one call each, tokens, the quota, and when to poll."""
