"""What this project calls things in a Dagster instance, which several places may share.

Belongs here: every name that two places (UAT and PRD, two health systems) would otherwise have in common.
Does not belong here: names that Dagster keeps apart by itself, which are those of code locations, sensors,
schedules, asset groups and run keys; and names below `HEALTH_DATA_DIR`, of which each place has its own.

Assets of one key are one asset to an instance, whichever code location they are from: one event log, and so
one ledger. No other module builds an asset key, and none keeps one from before the settings are known.
"""

from collections.abc import Collection

from dagster import AssetKey, DagsterRun

from health_pipelines.settings import Settings


def asset_key(*path: str) -> AssetKey:
    """`dexcare/avr_virtual`, in a place with a prefix `uat/dexcare/avr_virtual`.

    Raises `SettingError` if `HEALTH_ASSET_PREFIX` cannot be one.
    """
    prefix = Settings.of_this_process().asset_prefix
    return AssetKey([*([prefix] if prefix else []), *path])


def pool(api: str) -> str:
    """The pool of a vendor's API, e.g. `dexcare_api`: `uat_dexcare_api` in a place with a prefix.

    What a vendor bears belongs to a place; two that shared a pool would wait for each other.
    """
    prefix = Settings.of_this_process().asset_prefix
    return f"{prefix}_{api}" if prefix else api


def materializes_only(assets: Collection[AssetKey], run: DagsterRun) -> bool:
    """Whether a run is to materialize something, and all of it is among `assets`."""
    selected = run.asset_selection or frozenset()
    return bool(selected) and selected <= set(assets)
