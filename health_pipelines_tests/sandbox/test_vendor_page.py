"""The vendor's own curl lines, word for word, must get what the vendor's page says they get.

Repaired where the page lost something: the URL of the start call, the braces around the provider histories
search, and the commas between its terms.
"""

import argparse
import shlex
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from health_pipelines_tests.sandbox.vendor import Vendor, read_athena_csv
from health_pipelines_tests.support.sandbox_process import SandboxProcess

START = r"""curl -X POST ${REST_ENDPOINT}/api/8/reporting/allvisitsreport \
    -H "Authorization: dc-token SECRET_TOKEN" \
    -H "Content-Type: application/json" \
    --data '{"type":"virtual", "startDate": "2022-04-13T15:00:00+0000", "endDate": "2022-04-14T15:00:00+0000"}'
"""  # noqa: E501 - the vendor's line

STATUS = r"""curl -X GET ${REST_ENDPOINT}/api/8/reporting/allvisitsreport/3b690e39-4659-40f9-9909-58b27c0a4383 \
    -H "Authorization: dc-token SECRET_TOKEN" \
    -H "Content-Type: application/json"
"""  # noqa: E501 - the vendor's line

DATA = r"""curl -X GET ${REST_ENDPOINT}/api/8/reporting/allvisitsreport/3b690e39-4659-40f9-9909-58b27c0a4383/data \
    -H "Authorization: dc-token SECRET_TOKEN" \
    -H "Content-Type: application/text"
"""  # noqa: E501 - the vendor's line

PROVIDER_HISTORIES = r"""curl --location '<BASE_URL>/v1/reporting/providerhistories' \
--header 'Authorization: dc-token <REDACTED_API_KEY>' \
--header 'Content-Type: application/json' \
--data '{
  "startDate": "2023-10-12T07:00:00.000Z",
  "endDate": "2023-10-13T17:00:00.000Z"
}'
"""

EXAMPLE_ID = "3b690e39-4659-40f9-9909-58b27c0a4383"

Curl = Callable[[str], httpx.Response]


@pytest.fixture
def curl(sandbox: SandboxProcess) -> Curl:
    """Does what curl does with these lines, without needing curl."""

    words = argparse.ArgumentParser()
    words.add_argument("curl")
    words.add_argument("url")
    words.add_argument("-X", dest="method")
    words.add_argument("-H", "--header", dest="headers", action="append")
    words.add_argument("--data")
    words.add_argument("--location", action="store_true")

    def call(command: str) -> httpx.Response:
        line = command.replace("\\\n", " ").replace("<REDACTED_API_KEY>", "SECRET_TOKEN")
        line = line.replace("${REST_ENDPOINT}", sandbox.url).replace("<BASE_URL>", sandbox.url)
        said = words.parse_args(shlex.split(line))
        method = said.method or ("POST" if said.data else "GET")
        headers = dict(header.split(": ", 1) for header in said.headers)
        return httpx.request(method, said.url, headers=headers, content=said.data)

    return call


def test_the_start_line_gets_the_id_of_a_report(curl: Curl, sandbox: SandboxProcess) -> None:
    answer = curl(START)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert list(answer.json()) == ["id"]
    newest = sandbox.reports()[-1]
    assert newest["id"] == answer.json()["id"]
    assert (newest["type"], newest["startDate"]) == ("virtual", "2022-04-13T15:00:00+0000")


def test_the_status_line_gets_the_status(curl: Curl) -> None:
    report_id = curl(START).json()["id"]
    answer = curl(STATUS.replace(EXAMPLE_ID, report_id))
    assert (answer.status_code, answer.json()) == (200, {"status": "SUCCEEDED"})


def test_the_status_line_gets_404_for_the_pages_own_report(curl: Curl) -> None:
    answer = curl(STATUS)
    assert (answer.status_code, answer.json()) == (404, {"error": "QueryExecution Not Found"})


def test_the_data_line_gets_a_csv(curl: Curl) -> None:
    report_id = curl(START).json()["id"]
    answer = curl(DATA.replace(EXAMPLE_ID, report_id))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.startswith('"visit_id",')


def test_the_provider_histories_line_gets_count_and_data(curl: Curl) -> None:
    answer = curl(PROVIDER_HISTORIES)
    assert answer.status_code == 200
    assert list(answer.json()) == ["count", "data"]
    assert answer.json()["count"] > len(answer.json()["data"]) == 50
    assert all(event["id"] for event in answer.json()["data"])


def test_a_report_without_dates_covers_the_past_ten_days(vendor: Vendor, sandbox: SandboxProcess) -> None:
    asked = vendor.start(type="retail").json()
    now = datetime.fromisoformat(sandbox.control("GET", "clock")["now"])
    rows = read_athena_csv(vendor.data(asked["id"]).content)
    ages = [now - datetime.fromisoformat(f"{row['created_at']}+00:00") for row in rows]
    assert timedelta(days=9) < max(ages) <= timedelta(days=10, minutes=1)
    assert min(ages) >= timedelta(0)
