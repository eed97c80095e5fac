"""From the pages of a sweep to one Parquet file a day."""
