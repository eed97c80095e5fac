"""One table of synthetic visits, a part for each day, in each of the formats that are compared.

Belongs here: how a table is made, overwritten, read and cleaned up in a format, in the ordinary way of its
library. Does not belong here: what is measured. Every format writes the same rows, one file a day, zstd. All
of this needs the extra `benchmarks`.
"""

import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import obstore
import polars as pl
from deltalake import DeltaTable, WriterProperties, write_deltalake
from obstore.fsspec import FsspecStore
from obstore.store import S3Store
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import EqualTo

BUCKET, FILE = "lake", "visits.parquet"
_SIGNED = {"access_key_id": "synthetic", "secret_access_key": "synthetic", "region": "us-east-1"}
_OF_A_DAY = "FROM read_parquet(?, hive_partitioning = true) WHERE date = ?"
Reader = Callable[[date], pl.DataFrame]


@dataclass(frozen=True)
class Place:
    """Where a table lies: the server, a folder for what is local, and its name in both."""

    url: str
    folder: str
    name: str

    @property
    def json(self) -> dict[str, str]:
        return asdict(self)

    @property
    def store(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.url,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            **_SIGNED,
        )

    @property
    def options(self) -> dict[str, str]:
        """As Polars and Delta want them."""
        signed = {f"aws_{name}": value for name, value in _SIGNED.items()}
        return {**signed, "aws_endpoint_url": self.url, "aws_allow_http": "true"}

    @property
    def address(self) -> str:
        return f"s3://{BUCKET}/{self.name}"


class Table(Protocol):
    """A table in a format. `look` opens it, as a run does; `overwrite` goes by what was seen then."""

    place: Place

    def __init__(self, place: Place) -> None: ...
    def land(self, rows: pl.DataFrame) -> None: ...
    def look(self, day: date) -> None: ...
    def overwrite(self, rows: pl.DataFrame, day: date) -> None: ...
    def days(self) -> int: ...
    def readers(self) -> Mapping[str, Reader]: ...
    def files(self) -> tuple[int, int]: ...
    def clean(self) -> None: ...


def visits(days: list[date], rows: int, writer: str = "-") -> pl.DataFrame:
    """Rows of each day, 40 columns of text as a visit report has them, and who wrote them."""
    number = pl.int_range(rows * len(days))
    columns: list[pl.Expr] = []
    for column in range(38):
        value = (number.hash(column) % 1_000_000).cast(pl.String)
        kinds = [value, "value " + value, pl.lit(""), pl.lit(None, pl.String), value.str.slice(0, 1)]
        columns.append(kinds[column % len(kinds)].alias(f"c{column}"))
    day = pl.Series("date", days).to_frame().select(pl.col("date").repeat_by(rows).explode())
    made = pl.select(number.cast(pl.String).alias("id"), *columns, pl.lit(writer).alias("writer"))
    return pl.concat([day, made], how="horizontal")


def parquet(rows: pl.DataFrame) -> bytes:
    """A day's file. As in this project's lake the day is in its path and not in it."""
    file = io.BytesIO()
    rows.drop("date").write_parquet(file, compression="zstd")
    return file.getvalue()


class ObjectsOfAPlace:
    """What lies below a table's address."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def files(self) -> tuple[int, int]:
        """How many objects there are, and their bytes."""
        found = [
            one["size"] for part in obstore.list(self.place.store, self.place.name + "/") for one in part
        ]
        return len(found), sum(found)


class PlainParquet(ObjectsOfAPlace):
    """One object a day, put on the condition that it is still the one that was seen, or that none is."""

    def _key(self, day: date) -> str:
        return f"{self.place.name}/date={day}/{FILE}"

    def land(self, rows: pl.DataFrame) -> None:
        store = self.place.store

        def put(part: tuple[tuple[Any, ...], pl.DataFrame]) -> None:
            obstore.put(store, self._key(part[0][0]), parquet(part[1]), mode="create")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, rows.partition_by("date", as_dict=True).items()))

    def look(self, day: date) -> None:
        try:
            self._seen = obstore.head(self.place.store, self._key(day))["e_tag"]
        except FileNotFoundError:
            self._seen = None

    def overwrite(self, rows: pl.DataFrame, day: date) -> None:
        condition: Any = {"e_tag": self._seen} if self._seen else "create"
        obstore.put(self.place.store, self._key(day), parquet(rows), mode=condition)

    def days(self) -> int:
        return sum(len(part) for part in obstore.list(self.place.store, self.place.name + "/"))

    def readers(self) -> Mapping[str, Reader]:
        options, pattern = self.place.options, f"{self.place.address}/date=*/{FILE}"

        def with_polars(day: date) -> pl.DataFrame:
            table = pl.scan_parquet(pattern, hive_partitioning=True, storage_options=options)
            return table.filter(pl.col("date") == day).collect()

        def by_its_path(day: date) -> pl.DataFrame:
            return pl.read_parquet(f"s3://{BUCKET}/{self._key(day)}", storage_options=options)

        def duckdb_reads(names: list[str], day: date) -> pl.DataFrame:
            # Without the extension httpfs: obstore lists, and reads for DuckDB.
            files = FsspecStore("s3", endpoint=self.place.url, client_options={"allow_http": True}, **_SIGNED)
            with duckdb.connect() as connection:
                connection.register_filesystem(files)
                paths = [f"s3://{BUCKET}/{name}" for name in names]
                return pl.DataFrame(connection.sql(_OF_A_DAY, params=[paths, day]).to_arrow_table())

        def with_duckdb(day: date) -> pl.DataFrame:
            listed = obstore.list(self.place.store, f"{self.place.name}/")
            return duckdb_reads([one["path"] for part in listed for one in part], day)

        return {
            "Polars": with_polars,
            "Polars, by the day's path": by_its_path,
            "DuckDB": with_duckdb,
            "DuckDB, by the day's path": lambda day: duckdb_reads([self._key(day)], day),
        }

    def clean(self) -> None:
        """Nothing is left behind."""


class LocalDisk:
    """The same files on the local disk: written beside, made durable, renamed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = Path(place.folder) / place.name

    def land(self, rows: pl.DataFrame) -> None:
        for (day,), part in rows.partition_by("date", as_dict=True).items():
            self._folder(day).mkdir(parents=True)
            (self._folder(day) / FILE).write_bytes(parquet(part))

    def _folder(self, day: object) -> Path:
        return self.folder / f"date={day}"

    def look(self, day: date) -> None:
        """A lock of the folder is what makes one writer here; it costs nothing that shows."""

    def overwrite(self, rows: pl.DataFrame, day: date) -> None:
        folder = self._folder(day)
        with (folder / f"{FILE}.part").open("wb") as file:
            file.write(parquet(rows))
            file.flush()
            os.fsync(file.fileno())
        (folder / f"{FILE}.part").replace(folder / FILE)
        durable = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(durable)
        finally:
            os.close(durable)

    def days(self) -> int:
        return len(list(self.folder.iterdir()))

    def readers(self) -> Mapping[str, Reader]:
        pattern = f"{self.folder}/date=*/{FILE}"

        def with_polars(day: date) -> pl.DataFrame:
            return pl.scan_parquet(pattern, hive_partitioning=True).filter(pl.col("date") == day).collect()

        def with_duckdb(day: date) -> pl.DataFrame:
            with duckdb.connect() as connection:
                return pl.DataFrame(connection.sql(_OF_A_DAY, params=[[pattern], day]).to_arrow_table())

        return {"Polars": with_polars, "DuckDB": with_duckdb}

    def files(self) -> tuple[int, int]:
        found = [one.stat().st_size for one in self.folder.rglob("*") if one.is_file()]
        return len(found), sum(found)

    def clean(self) -> None:
        """Nothing is left behind."""


class Iceberg(ObjectsOfAPlace):
    """pyiceberg with a catalogue in SQLite; partitioned by the day."""

    _table: Any

    def _catalog(self) -> SqlCatalog:
        named = {f"s3.{name.replace('_', '-')}": value for name, value in _SIGNED.items()}
        return SqlCatalog(
            "lake",
            uri=f"sqlite:///{self.place.folder}/catalog.db",
            **{"s3.endpoint": self.place.url},
            **named,
        )

    def land(self, rows: pl.DataFrame) -> None:
        catalog, identifier, arrow = self._catalog(), f"benchmark.{self.place.name}", _arrow(rows)
        try:
            table = catalog.load_table(identifier)
        except NoSuchTableError:
            catalog.create_namespace_if_not_exists("benchmark")
            table = catalog.create_table(
                identifier,
                schema=arrow.schema,
                location=self.place.address,
                properties={"write.parquet.compression-codec": "zstd"},
            )
            with table.update_spec() as spec:
                spec.add_identity("date")
        table.append(arrow)

    def look(self, day: date) -> None:
        self._table = self._catalog().load_table(f"benchmark.{self.place.name}")

    def overwrite(self, rows: pl.DataFrame, day: date) -> None:
        self._table.overwrite(_arrow(rows), overwrite_filter=EqualTo("date", day))

    def days(self) -> int:
        self.look(date.min)
        return len({str(task.file.partition) for task in self._table.scan().plan_files()})

    def readers(self) -> Mapping[str, Reader]:
        def with_polars(day: date) -> pl.DataFrame:
            self.look(day)
            table = pl.scan_iceberg(self._table, storage_options=self.place.options)
            return table.filter(pl.col("date") == day).collect()

        def with_duckdb(day: date) -> pl.DataFrame:
            self.look(day)
            with self._table.scan(row_filter=EqualTo("date", day)).to_duckdb("day") as connection:
                return pl.DataFrame(connection.sql("FROM day").to_arrow_table())

        return {"Polars": with_polars, "DuckDB": with_duckdb}

    def clean(self) -> None:
        """Forget all old snapshots. pyiceberg removes no file by that."""
        self.look(date.min)
        self._table.maintenance.expire_snapshots().older_than(datetime.now(UTC)).commit()


class Delta(ObjectsOfAPlace):
    """deltalake, partitioned by the day; its commits are conditional puts."""

    _table: DeltaTable
    _WRITE: Mapping[str, Any] = {"writer_properties": WriterProperties(compression="ZSTD")}

    def land(self, rows: pl.DataFrame) -> None:
        write_deltalake(
            self.place.address,
            _arrow(rows),
            mode="append",
            partition_by=["date"],
            storage_options=self.place.options,
            **self._WRITE,
        )

    def look(self, day: date) -> None:
        self._table = DeltaTable(self.place.address, storage_options=self.place.options)

    def overwrite(self, rows: pl.DataFrame, day: date) -> None:
        write_deltalake(
            self._table, _arrow(rows), mode="overwrite", predicate=f"date = '{day}'", **self._WRITE
        )

    def days(self) -> int:
        self.look(date.min)
        return len(self._table.partitions())

    def readers(self) -> Mapping[str, Reader]:
        def with_polars(day: date) -> pl.DataFrame:
            table = pl.scan_delta(self.place.address, storage_options=self.place.options)
            return table.filter(pl.col("date") == day).collect()

        def with_duckdb(day: date) -> pl.DataFrame:
            self.look(day)
            with duckdb.connect() as connection:
                connection.register("visits", self._table.to_pyarrow_dataset())
                answer = connection.sql("FROM visits WHERE date = ?", params=[day])
                return pl.DataFrame(answer.to_arrow_table())

        return {"Polars": with_polars, "DuckDB": with_duckdb}

    def clean(self) -> None:
        """Remove the files of old versions, and write a checkpoint."""
        self.look(date.min)
        self._table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        self._table.create_checkpoint()
        self._table.cleanup_metadata()


def _arrow(rows: pl.DataFrame) -> Any:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


FORMATS: Mapping[str, type[Table]] = {
    "plain Parquet": PlainParquet,
    "Iceberg": Iceberg,
    "Delta": Delta,
    "local disk": LocalDisk,
}
