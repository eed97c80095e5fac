"""A small health system whose partitions are landed with the real writers, and its warehouse.

Belongs here: landing rows and asking the warehouse. Does not belong here: what rows there are (the tests).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from health_pipelines.dexcare.tables import PROVIDER_HISTORIES
from health_pipelines.drchrono.landing.day_files import write_day
from health_pipelines.drchrono.landing.page_reading import PageFile
from health_pipelines.drchrono.landing.staging import stage
from health_pipelines.drchrono.records import LINE_ITEM_DELETIONS, RECORD_TYPES
from health_pipelines.lake.csv_partition import Lineage, column_types, quoted, write_partition
from health_pipelines.lake.csv_shape import CsvShape
from health_pipelines.lake.json_partition import write_json_partition
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.settings import VisitColumns
from health_pipelines.warehouse.build import Warehouse
from health_pipelines.warehouse.lake_tables import TABLES
from health_pipelines.warehouse.making import Making
from health_pipelines.warehouse.published import BuildReport

ZONE = ZoneInfo("America/Chicago")
NAMED = VisitColumns("visit_id", "scheduled_at", "state", "entered_at", "left_at")
TYPES = {record_type.name: record_type for record_type in (*RECORD_TYPES, LINE_ITEM_DELETIONS)}
Row = Mapping[str, str | None]


class Hospital:
    """`visits`: what its visit reports call their columns, by type."""

    def __init__(
        self,
        folder: Path,
        visits: Mapping[str, VisitColumns] | None = None,
        account_zone: ZoneInfo = ZONE,
    ) -> None:
        every = dict.fromkeys(("virtual", "retail", "provider_booking"), NAMED)
        named = every if visits is None else visits
        self.folder = folder
        self.lake = Lake(folder / "lake")
        self.warehouse = Warehouse(folder, self.lake, TABLES, Making(ZONE, named, account_zone))
        self._account_zone = account_zone

    def land_visits(self, type_: str, day: str, rows: Sequence[Row], *, extracted: int = 1) -> Path:
        """`extracted`: the day of November 2026, at noon UTC, on which the report was extracted."""
        lines: list[list[str | None]] = [list(rows[0]), *(list(row.values()) for row in rows)]
        body = "".join(
            ",".join("" if value is None else quoted(value) for value in line) + "\n" for line in lines
        ).encode()
        shape = CsvShape()
        shape.feed(body)
        summary = shape.summary(end_is_proven=True)
        with self.lake.writing(Table("dexcare", f"avr_{type_}"), day) as writer:
            writer.download.write_bytes(body)
            write_partition(writer.download, summary, writer.candidate, _lineage(day, extracted), "hash")
            writer.replace()
        return writer.target

    def land_histories(self, day: str, rows: Sequence[Mapping[str, Any]], *, extracted: int = 1) -> None:
        with self.lake.writing(PROVIDER_HISTORIES, day) as writer:
            write_json_partition(rows, "id", writer.candidate, _lineage(day, extracted))
            writer.replace()

    def land_records(
        self, name: str, day: str, records: Sequence[Mapping[str, Any]], *, extracted: int = 1
    ) -> Path:
        """Land records as DrChrono sends them, all on one day."""
        page = json.dumps({"status": "Complete", "uuid": "u", "results": list(records)})
        with self.lake.writing(TYPES[name].table, day) as writer:
            work = self.folder / "staging" / f"{name}-{day}-{extracted}-{len(page)}"
            work.mkdir(parents=True)
            (work / "page.json").write_text(page)
            staged = stage(
                TYPES[name],
                [PageFile(work / "page.json", "u", 0)],
                self._account_zone,
                work,
                extracted_at=noon(extracted),
            )
            write_day(staged, None, date.fromisoformat(day), writer.candidate, report_id="u")
            writer.replace()
        return writer.target

    def build(self) -> BuildReport:
        return self.warehouse.build()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """As a person would, in whatever time zone they are."""
        with duckdb.connect(str(self.warehouse.file), read_only=True) as connection:
            connection.execute("SET TimeZone = 'Asia/Tokyo'")
            return connection.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        [(value,)] = self.query(sql)
        return value

    def columns(self, full_name: str) -> list[str]:
        return [str(name) for name, *_ in self.query(f"DESCRIBE {full_name}")]

    def show(self, table: Table, file: Path) -> bool:
        return self.warehouse.show(table, column_types(file))


def noon(extracted: int) -> datetime:
    return datetime(2026, 11, extracted, 12, tzinfo=UTC)


def _lineage(day: str, extracted: int) -> Lineage:
    return Lineage(date.fromisoformat(day), f"report of {day}", noon(extracted))
