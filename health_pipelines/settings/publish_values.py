"""What the settings of publishing are read as.

Belongs here: PUBLISH_*. Does not belong here: every other setting (`values.py`), and what is done with these
(`publish`).
"""

import re

from health_pipelines.settings.reading import DATABASE_PORTS, SettingError, Value, Variables
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.variables import (
    HEALTH_ASSET_PREFIX,
    PUBLISH_DB,
    PUBLISH_DELETED,
    PUBLISH_HOST,
    PUBLISH_KIND,
    PUBLISH_PASSWORD,
    PUBLISH_PORT,
    PUBLISH_SCHEMA,
    PUBLISH_TABLES,
    PUBLISH_URL,
    PUBLISH_USER,
)


class PublishValues(Variables):
    """Every property raises `SettingError` when its variable is malformed."""

    @property
    def publish_url(self) -> Secret | None:
        """None if nothing is published. A secret, since it holds a password."""
        return self.database_url(
            PUBLISH_URL,
            host=PUBLISH_HOST,
            port=PUBLISH_PORT,
            database=PUBLISH_DB,
            user=PUBLISH_USER,
            password=PUBLISH_PASSWORD,
            scheme=self._kind,
        )

    @property
    def _kind(self) -> str:
        """What kind of database the parts of an address lead to."""
        text = self.text(PUBLISH_KIND).lower()
        if text not in DATABASE_PORTS:
            raise SettingError(f"{PUBLISH_KIND.name} is {text!r}, neither postgresql nor mssql.")
        return text

    publish_password = Value(Variables.secret_if_set, PUBLISH_PASSWORD)
    """None if the URL has it, or the server wants none."""

    @property
    def publish_schema(self) -> str:
        """The beginning of the schemas' names, with the place's prefix: `health`, or `uat_health`."""
        text = self.text(PUBLISH_SCHEMA)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", text):
            raise SettingError(
                f"{PUBLISH_SCHEMA.name} is {text!r}, not a name of up to 40 letters, digits and underscores."
            )
        prefix = self.optional(HEALTH_ASSET_PREFIX)
        return f"{prefix}_{text}" if prefix else text

    @property
    def publish_tables(self) -> tuple[str, ...]:
        """What is published: each `<schema>.<table>`, or `<schema>.*`."""
        text = self.text(PUBLISH_TABLES)
        tables = tuple(part.strip() for part in text.split(",") if part.strip())
        for table in tables:
            if not re.fullmatch(r"(current|marts)\.(\*|[A-Za-z0-9_]+)", table):
                raise SettingError(
                    f"{PUBLISH_TABLES.name} is {text!r}, where {table!r} is not like marts.daily_visits, "
                    "current.avr_virtual or marts.*."
                )
        return tables

    @property
    def publishes_deleted(self) -> bool:
        """Whether deleted records are published, marked as such."""
        text = self.text(PUBLISH_DELETED).lower()
        if text not in ("mark", "remove"):
            raise SettingError(f"{PUBLISH_DELETED.name} is {text!r}, neither mark nor remove.")
        return text == "mark"
