"""An alert through a webhook: over real HTTP, to a receiver that takes it or does not."""

import json
import socket
import traceback

import pytest
from starlette.responses import RedirectResponse, Response

from health_pipelines.alerts.channel import NotDeliveredError
from health_pipelines.alerts.news import Message
from health_pipelines.alerts.webhook import Webhook
from health_pipelines.settings import Secret, SettingError, Settings
from health_pipelines_tests.drchrono.scripted_vendor import LOST, scripted_vendor

# The secret part of such a URL is its path.
PATH = "/services/T0/B0/s3cret-that-nobody-may-see"
MESSAGE = Message("uat: 1 run failed", "- dexcare/avr_virtual <!channel> a & b: Größe …")


def webhook(url: str) -> Webhook:
    return Webhook.of(Settings({"ALERT_WEBHOOK_URL": url}))


def test_a_message_arrives_as_slack_takes_it() -> None:
    with scripted_vendor() as receiver:
        receiver.will_answer(200, b"ok")
        webhook(receiver.url + PATH).send(MESSAGE)
        [seen] = receiver.calls
    assert (seen.method, seen.path) == ("POST", PATH)
    assert seen.headers["content-type"] == "application/json"
    # Nobody is called by a name that stands in a message.
    assert json.loads(seen.body) == {
        "text": "uat: 1 run failed\n- dexcare/avr_virtual &lt;!channel&gt; a &amp; b: Größe …"
    }


@pytest.mark.parametrize("status", [400, 403, 404, 410, 429, 500, 503])
def test_a_refusal_is_one_sentence_without_the_url(status: int) -> None:
    with scripted_vendor() as receiver:
        receiver.will_answer(status, PATH.encode())
        with pytest.raises(NotDeliveredError) as refused:
            webhook(receiver.url + PATH).send(MESSAGE)
    assert str(refused.value) == f"The webhook answered {status}; check ALERT_WEBHOOK_URL."


def test_a_redirect_gets_no_message() -> None:
    with scripted_vendor() as receiver:
        receiver.answers.append(RedirectResponse(f"{receiver.url}/elsewhere", 307))
        receiver.handler = lambda seen: Response("ok")
        with pytest.raises(NotDeliveredError, match="answered 307"):
            webhook(receiver.url + PATH).send(MESSAGE)
        assert len(receiver.calls) == 1


def test_nobody_there_and_nobody_who_answers_are_one_sentence_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{PATH}"
        with pytest.raises(NotDeliveredError, match="ReadTimeout") as waited:
            Webhook(Secret(url), timeout_seconds=0.3).send(MESSAGE)
    with pytest.raises(NotDeliveredError, match="ConnectError") as refused:
        webhook(url).send(MESSAGE)
    for caught in (waited, refused):
        message = str(caught.value)
        assert message.startswith("The webhook did not answer (")
        assert "check ALERT_WEBHOOK_URL" in message
        assert PATH not in "".join(traceback.format_exception(caught.value))


def test_a_body_that_breaks_off_does_not_undo_that_the_message_was_taken() -> None:
    with scripted_vendor() as receiver:
        receiver.answers.append(LOST)
        webhook(receiver.url + PATH).send(MESSAGE)
        assert len(receiver.calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"http://hooks.example.org{PATH}",
        f"hooks.example.org{PATH}",
        f"https://somebody:pass@hooks.example.org{PATH}",
        f"https://[hooks{PATH}",
        f"https://hooks.example.org:port{PATH}",
        f"https://hooks.example.org{PATH}\x00",
    ],
)
def test_a_url_that_would_give_the_secret_away_or_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        webhook(url)
    assert str(refused.value).startswith("ALERT_WEBHOOK_URL ")
    assert refused.value.__suppress_context__
    assert PATH not in str(refused.value)
    assert "pass" not in str(refused.value).replace("password", "")
