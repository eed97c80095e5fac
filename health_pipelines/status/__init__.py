"""What there is and what is missing, in one screen: read from the lake and from Dagster's record."""
