"""Every setting: its name, its default, what it means, and where its value comes from.

Belongs here: environment variables, settings files of places, files of secrets, the clock. Does not belong
here: what is done with a value. Nothing is read when this package is imported.
"""

from health_pipelines.settings.column_names import ColumnName
from health_pipelines.settings.days_left_out import LeftOut
from health_pipelines.settings.http_policy import HttpPolicy
from health_pipelines.settings.reading import MissingSettingError, SettingError
from health_pipelines.settings.secret import Secret
from health_pipelines.settings.values import Settings, use_settings
from health_pipelines.settings.visit_columns import VisitColumns

__all__ = [
    "ColumnName",
    "HttpPolicy",
    "LeftOut",
    "MissingSettingError",
    "Secret",
    "SettingError",
    "Settings",
    "VisitColumns",
    "use_settings",
]
