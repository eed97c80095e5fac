"""Every table of the lake that the warehouse shows.

Belongs here: the list. Does not belong here: what is in a table, and where it lives (`lake/partitions.py`).
"""

from health_pipelines.dexcare import tables as dexcare
from health_pipelines.drchrono import tables as drchrono

TABLES = (*dexcare.TABLES, *drchrono.TABLES)
