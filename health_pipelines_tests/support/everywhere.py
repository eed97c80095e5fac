"""Looking for a text in every byte below a folder, also where bytes are compressed.

Belongs here: that search. Does not belong here: what is looked for.
"""

from pathlib import Path

import duckdb


def files_with(folder: Path, *texts: str) -> list[str]:
    """The files below `folder` in which one of the texts stands, in raw bytes or in what they say."""
    found = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        said = file.read_bytes() + _decoded(file)
        found += [str(file.relative_to(folder)) for text in texts if text.encode() in said]
    return sorted(set(found))


def _decoded(file: Path) -> bytes:
    content = file.read_bytes()
    if content[:4] == b"PAR1":
        with duckdb.connect() as connection:
            rows = connection.execute(
                "SELECT * FROM read_parquet(?, hive_partitioning = false)", [str(file)]
            ).fetchall()
            footer = connection.execute(
                "SELECT key, value FROM parquet_kv_metadata(?)", [str(file)]
            ).fetchall()
        return repr((rows, footer)).encode()
    if file.suffix == ".duckdb":
        with duckdb.connect(str(file), read_only=True) as connection:
            tables = connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
            ).fetchall()
            found = [connection.execute(f'FROM "{schema}"."{name}"').fetchall() for schema, name in tables]
        return repr(found).encode()
    return b""
