"""The tables of the lake that have a table in `current`: those whose records are known.

Belongs here: the list. Does not belong here: what is in a table, where it lives (`lake/partitions.py`), and
the tables that have a view alone (`vendors/known.py`).
"""

from health_pipelines.dexcare import tables as dexcare
from health_pipelines.drchrono import tables as drchrono

TABLES = (*dexcare.TABLES, *drchrono.TABLES, drchrono.GONE_RECORDS)
