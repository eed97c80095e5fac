"""Visit, provider and practice data from DexCare and DrChrono as Dagster assets."""

import gc

# A code server or a run that loads this has loaded Dagster: half a million objects that stay to the end. Not
# to look for garbage among them again and again saves a quarter of the time until the definitions are there.
gc.freeze()
