"""Publishing `current` and `marts` of the warehouse into a database that people already have.

How it fits together:

- `settings.py`: what PUBLISH_* settings say, as one value.
- `types.py`: the types of columns, without any database's words; which is wider than which. Pure.
- `names.py`: names that the target's limit allows. Pure.
- `tables.py`: what a table should be in the target and what it is there; what has to be altered. Pure.
- `source.py`: the warehouse, read from one open handle.
- `target.py`: the seam. What a database has to be able to do, as protocols; a database's SQL is behind it.
- `changes.py`: which rows differ, found in DuckDB by hashes.
- `memory.py`: what was published last, kept on this machine, so that it need not be asked for. Disposable.
- `publisher.py`: the order of it all, for one table.
- `postgres/`, `mssql/`: one folder a database, each an implementation of the seam.
- `assets.py`, `sensor.py`, `due.py`: how Dagster sees and starts it.

Belongs here: rows from the warehouse to the target. Does not belong here: what a table is (`warehouse`).
"""
