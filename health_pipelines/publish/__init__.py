"""Publishing `current` and `marts` of the warehouse into a database that people already have.

- `types.py`, `names.py`, `tables.py`: what a table should be in the target, and what has to be altered. Pure.
- `source.py`: the warehouse, read from one open handle; which rows differ from those published before.
- `memory.py`: what was published last, kept on this machine so that it need not be asked for.
- `target.py`: the seam, what a database has to be able to do; `postgres/` and `mssql/` do it.
- `publisher.py`: the order of it all, for one table.
- `due.py`, `assets.py`, `sensor.py`: when, and how Dagster shows it.

Belongs here: rows from the warehouse to the target. Does not belong here: what a table is (`warehouse`).
"""
