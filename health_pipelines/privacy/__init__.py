"""Which columns, and whose rows, may be in the lake.

Belongs here: columns that are left out or hashed, patients who are erased, days that are no longer kept, and
what is done to a partition file for it. Does not belong here: settings, vendors, Dagster, the warehouse.
"""
