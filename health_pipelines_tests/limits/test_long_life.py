"""Some days of what `make long-life` lives ninety of: nothing grows that the look-back does not explain."""

import os
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from health_pipelines_tests.limits.long_life import FIRST, LOOKBACK_DAYS, draw, live
from health_pipelines_tests.support.sandbox_process import running_sandbox


def test_open_files_and_cursor_stay_once_the_look_back_is_full(tmp_path: Path) -> None:
    now = datetime.combine(FIRST, datetime.min.time(), UTC).isoformat()
    options = {"volume": "0.1", "queue_seconds": "0", "run_seconds": "0", "now": now}
    with patch.dict(os.environ), running_sandbox(**options) as sandbox:
        days = list(live(sandbox, tmp_path, LOOKBACK_DAYS + 2))

    assert [one.landed_days for one in days] == [1, 2, 3, 4]
    full = days[LOOKBACK_DAYS - 1 :]
    assert len({one.open_files for one in full}) == 1
    # The times in it have fewer digits now and then.
    assert max(one.cursor_bytes for one in full) < full[0].cursor_bytes * 1.1
    draw(days, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
