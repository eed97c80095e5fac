"""PostgreSQL as a target: types, errors, streams of rows, and one table in one transaction."""
