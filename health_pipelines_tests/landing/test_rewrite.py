"""A partition that is rewritten for a stated reason is what is to stand there, and says why."""

from pathlib import Path

import polars as pl

from health_pipelines.lake.manifests import Manifest
from health_pipelines.lake.partitions import Lake, Table
from health_pipelines.lake.verification import State, TableVerification
from health_pipelines.landing.landed_partition import put_in_place, rewrite

VISITS, DAY = Table("clinic", "visits"), "2026-03-08"
ROWS = pl.DataFrame({"id": ["1", "2", "3"], "name": ["Ann", "Bob", "Cid"], "_report_id": ["r"] * 3})


def test_a_rewritten_partition_has_a_manifest_with_the_reason_and_is_no_tampering(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with lake.writing(VISITS, DAY) as writer:
        ROWS.write_parquet(writer.candidate, metadata={"content_hash": "as it came"})
        put_in_place(writer, rows_sent=3, key="id")

    with lake.writing(VISITS, DAY) as writer:
        ROWS.filter(pl.col("id") != "2").write_parquet(
            writer.candidate, metadata={"content_hash": "as it came"}
        )
        landed = rewrite(writer, reason="erased", key="id")

    assert (landed.rows, landed.changes.removed, landed.changes.added) == (2, 1, 0)
    text = lake.manifest_file(VISITS, DAY).read_text()
    facts = Manifest.of_text(text).facts
    assert (facts.reason, facts.rows, facts.keys, facts.report_ids) == ("erased", 2, 2, ["r"])
    assert not any(name in text for name in ROWS["name"])
    found = TableVerification(lake, VISITS)
    assert found.of_day(DAY).state is State.AS_LANDED
    assert found.rewritten(DAY)
    assert not found.removed(DAY)
