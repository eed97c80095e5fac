"""Microsoft SQL Server as a target: its address, types, statements, and one table in one transaction."""
