"""What an asset's page in Dagster's UI says, for every asset of the project."""

import re
from pathlib import Path

import pytest
from dagster import AssetSpec, TableSchema, UrlMetadataValue

from health_pipelines.definitions import build_definitions
from health_pipelines.landing.asset_pages import DOCS, described_model
from health_pipelines.landing.landed_partition import COLUMN_SCHEMA
from health_pipelines.settings import SettingError, Settings

DOCS_FOLDER = Path(__file__).parents[2] / "docs"


def specs(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, AssetSpec]:
    """Of every asset there can be, by key."""
    monkeypatch.setenv("PUBLISH_URL", "postgresql://db.example.com/d")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = build_definitions(Settings.of_this_process()).resolve_all_asset_specs()
    return {spec.key.to_user_string(): spec for spec in found}


def has_no_table(name: str) -> bool:
    return name.endswith("_report") or name in (
        "status/calendar",
        "status/late_changes",
        "drchrono/gone_records",
    )


def test_every_asset_says_what_a_row_is_in_a_list_of_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = specs(monkeypatch)
    # 3 requests, 13 landings, what is gone, 14 current tables and 7 marts, here and published, two of status.
    assert len(found) == 3 + 13 + 1 + 21 + 21 + 2
    for name, spec in found.items():
        # A list needs an empty line before it, or Markdown makes one paragraph of all lines.
        assert re.search(r"\n\n- \*\*A row is\*\*: \w", spec.description or ""), name


def test_every_asset_has_kinds_and_the_tags_of_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    found = specs(monkeypatch)
    for name, spec in found.items():
        assert 1 <= len(spec.kinds) <= 3, name
        assert len([tag for tag in spec.tags if tag.startswith("table/")]) == 1, name
        assert spec.tags[f"source/{spec.group_name}"] == "true", name
    # Who looks for a table finds what asks for it, too.
    assert "table/avr_virtual" in found["dexcare/avr_virtual"].tags
    assert "table/avr_virtual" in found["dexcare/avr_virtual_report"].tags


def test_every_table_has_its_columns_with_types_and_meanings_before_anything_landed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = specs(monkeypatch, DEXCARE_AVR_VIRTUAL_STATUS="state")
    columns = {}
    for name, spec in found.items():
        if has_no_table(name):
            continue
        schema = spec.metadata[COLUMN_SCHEMA]
        assert isinstance(schema, TableSchema), name
        assert [one.name for one in schema.columns if one.type == "?" or not one.description] == [], name
        columns[name] = {one.name: (one.type, one.description) for one in schema.columns}
    assert columns["drchrono/patients"]["date_of_birth"][0] == "DATE"
    assert columns["drchrono/appointments"]["updated_at_text"] == ("VARCHAR", "`updated_at` as it came.")
    assert columns["current/appointments"]["scheduled_time"][0] == "TIMESTAMPTZ"
    assert columns["publish/marts/charges"] == columns["marts/charges"]
    assert columns["dexcare/avr_virtual"]["state"] == (
        "VARCHAR",
        "The visit's status, as DEXCARE_AVR_VIRTUAL_STATUS says.",
    )
    assert not any(
        "Never landed" in (about or "") for of_one in columns.values() for _, about in of_one.values()
    )


def test_every_asset_has_the_owners_that_are_set_and_none_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {spec.key for spec in specs(monkeypatch).values() if spec.owners} == set()
    found = specs(monkeypatch, HEALTH_OWNERS="team:data, a@example.org")
    assert {tuple(spec.owners) for spec in found.values()} == {("team:data", "a@example.org")}


def test_an_owner_that_is_none_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"^HEALTH_OWNERS is 'data', where 'data' is neither .*\.$"):
        specs(monkeypatch, HEALTH_OWNERS="data")


def test_every_asset_leads_to_its_page_which_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spec in specs(monkeypatch).items():
        page, _, anchor = str(spec.metadata[DOCS]).removeprefix("docs/").partition("#")
        text = (DOCS_FOLDER / page).read_text()
        headings = re.findall(r"^#+ (.*)", text, re.M)
        anchors = [re.sub(r"[^\w -]", "", one).replace(" ", "-").lower() for one in headings]
        assert not anchor or anchor in anchors, name


def test_the_page_is_a_link_where_somebody_said_where_pages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = specs(monkeypatch, HEALTH_DOCS_URL="https://git.example.org/docs/")
    link = found["marts/charges"].metadata[DOCS]
    assert isinstance(link, UrlMetadataValue)
    assert link.url == "https://git.example.org/docs/data.md#martscharges"
    assert (found["marts/charges"].description or "").endswith(f"\n\n[More about it]({link.url})")


def test_the_header_of_a_model_becomes_a_list_and_paragraphs() -> None:
    header = (
        "What was billed.\nGrain: a line.\nKey: line_item_id.\nSource: current.line_items.\n"
        "Amounts are in dollars, as CURRENCY_SETTING\nsays.\nLeft out: deleted lines and those whose\n"
        "appointment is gone."
    )
    assert described_model(header, {"Freshness": "daily."}) == (
        "What was billed.\n\n"
        "- **A row is**: a line.\n"
        "- **Key**: `line_item_id`.\n"
        "- **Made of**: `current.line_items`.\n"
        "- **Left out**: deleted lines and those whose appointment is gone.\n"
        "- **Freshness**: daily.\n\n"
        "Amounts are in dollars, as `CURRENCY_SETTING` says."
    )
