"""No test of alerts tells the people whom the environment names."""

import pytest

from health_pipelines.settings.variables import ALL_SETTINGS


@pytest.fixture(autouse=True)
def nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ALL_SETTINGS:
        if setting.name.startswith("ALERT_") or setting.name == "HEALTH_UI_URL":
            for name in setting.variables:
                monkeypatch.delenv(name, raising=False)
