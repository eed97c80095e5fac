"""Visit, provider and practice data from DexCare and DrChrono as Dagster assets."""
