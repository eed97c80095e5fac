"""What killed processes have left behind in a system at rest.

Belongs here: finding files and tables that nobody needs any more. Returns sentences; nothing is good.
"""

import re
from pathlib import Path

import psycopg

from health_pipelines.publish.databases import publication_of, published_models
from health_pipelines_tests.crash.system import System

# What belongs below the data folder, by the path of each file and folder.
_BELONGS = re.compile(
    r"""
    lake(/\w+(/\w+(/date=[0-9-]{10})?)?)?
    | lake/\w+/\w+/(_origin|_zones|_chain)
    | lake/\w+/(?P<table>\w+)/date=[0-9-]{10}/((?P=table)\.parquet|_manifest\.json)
    | warehouse\.(duckdb|json)
    | \.warehouse | runs
    | drchrono | drchrono/pace\.json | drchrono/quota | drchrono/quota/\w+\.sqlite(\.lock)?
    | drchrono/sweeps(/\w+)?
    | dexcare | dexcare/\w+\.json
    | publish | publish/spill | publish/[\w.]+\.(json|parquet)
    """,
    re.VERBOSE,
)
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'health_pipelines'"
_STAGED = "SELECT relname FROM pg_class WHERE relname IN ('staged', 'gone')"


def leftovers(system: System) -> list[str]:
    return [*_files(system), *_of_publishing(system)]


def _files(system: System) -> list[str]:
    there = [str(one.relative_to(system.data)) for one in system.data.rglob("*")]
    # Of a killed service Dagster's socket stays, which holds nothing.
    temporary = [
        str(one.relative_to(system.folder)) for one in system.temporary.rglob("*") if not one.is_socket()
    ]
    strange = [one for one in there if not _BELONGS.fullmatch(one)]
    return [f"left behind: {one}" for one in sorted([*strange, *temporary])]


def _of_publishing(system: System) -> list[str]:
    settings = system.settings
    publication, url = publication_of(settings), settings.publish_url
    assert publication is not None
    assert url is not None
    known = {
        file
        for model in published_models(settings)
        if (last := publication.memory.of(model.full_name)) is not None
        for file in last.files
    }
    there: set[Path] = set((system.data / "publish").glob("*.parquet"))
    lines = [f"left behind: publish/{file.name}, which no note names" for file in sorted(there - known)]
    with psycopg.connect(url.reveal(), autocommit=True) as connection:
        [(sessions,)] = connection.execute(_SESSIONS).fetchall()
        staged = [name for (name,) in connection.execute(_STAGED).fetchall()]
    if sessions:
        lines.append(f"left behind: {sessions} sessions of a publisher")
    return lines + [f"left behind: the table {name} of a publisher" for name in staged]
