"""An alert by e-mail: over real sockets, to a server that takes it or does not."""

from pathlib import Path

import pytest

from health_pipelines.alerts.channel import NotDeliveredError, PartlyDeliveredError
from health_pipelines.alerts.mail import Mail
from health_pipelines.alerts.news import Message
from health_pipelines.settings import SettingError, Settings
from health_pipelines_tests.alerts.mail_server import AUTHORITY, MailServer, mail_server

PASSWORD = "p4ssw0rd-that-nobody-may-see"
MESSAGE = Message("uat: 1 run failed", "1 run failed:\n- dexcare/avr_virtual … Größe.\n.\nEnd")


def mail(server: MailServer, security: str = "none", *, host: str = "localhost", **more: str) -> Mail:
    return Mail.of(
        Settings(
            {
                "ALERT_SMTP_HOST": host,
                "ALERT_SMTP_PORT": str(server.port),
                "ALERT_SMTP_SECURITY": security,
                "ALERT_EMAIL_FROM": "health@example.org",
                "ALERT_EMAIL_TO": "a@example.org, b@example.org",
                **more,
            }
        )
    )


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let this machine trust the server's certificate, as an administrator does for one of their own."""
    authority = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))


def test_a_mail_arrives_with_its_words_and_its_recipients() -> None:
    with mail_server() as server:
        mail(server).send(MESSAGE)
        [taken] = server.mails
    assert taken.sender == "health@example.org"
    assert taken.recipients == ["a@example.org", "b@example.org"]
    assert taken.mail["Subject"] == MESSAGE.subject
    assert taken.mail["From"] == "health@example.org"
    assert taken.mail["To"] == "a@example.org, b@example.org"
    assert taken.mail["Date"]
    assert taken.mail["Message-ID"].endswith("@example.org>")
    # No answer comes from whoever is on holiday.
    assert taken.mail["Auto-Submitted"] == "auto-generated"
    assert taken.text.replace("\r\n", "\n").strip() == MESSAGE.text
    assert (taken.encrypted, taken.login) == (False, None)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_and_its_login_are_encrypted(security: str) -> None:
    offers = ("STARTTLS", "AUTH PLAIN")
    with mail_server(offers=offers, tls=security == "tls") as server:
        mail(server, security, ALERT_SMTP_USER="health", ALERT_SMTP_PASSWORD=PASSWORD).send(MESSAGE)
        [taken] = server.mails
    assert taken.encrypted
    assert taken.login == f"health:{PASSWORD}"
    assert [one for one in server.commands if one.startswith("AUTH")]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_that_is_not_trusted_gets_nothing(security: str) -> None:
    with mail_server(offers=("STARTTLS", "AUTH PLAIN"), tls=security == "tls") as server:
        with pytest.raises(
            NotDeliveredError, match=r"certificate that is not trusted; check ALERT_SMTP_HOST"
        ):
            mail(server, security, ALERT_SMTP_USER="health", ALERT_SMTP_PASSWORD=PASSWORD).send(MESSAGE)
        assert not server.mails
        assert not [one for one in server.commands if one.startswith("AUTH")]


@pytest.mark.usefixtures("trusted")
def test_a_server_without_encryption_gets_neither_the_login_nor_the_mail() -> None:
    with mail_server(offers=("AUTH PLAIN",)) as server:
        with pytest.raises(NotDeliveredError, match=r"does not offer .* check ALERT_SMTP_SECURITY"):
            mail(server, "starttls", ALERT_SMTP_USER="health", ALERT_SMTP_PASSWORD=PASSWORD).send(MESSAGE)
        assert not [one for one in server.commands if one.startswith(("AUTH", "MAIL"))]


def test_a_password_does_not_cross_the_network_in_clear() -> None:
    login = {"ALERT_SMTP_USER": "health", "ALERT_SMTP_PASSWORD": PASSWORD}
    with mail_server(offers=("AUTH PLAIN",)) as server:
        with pytest.raises(SettingError, match=r"ALERT_SMTP_SECURITY is 'none'.*in clear") as refused:
            mail(server, host="mail.example.org", **login)
        assert PASSWORD not in str(refused.value)
        # To this machine it crosses nothing.
        mail(server, **login).send(MESSAGE)
        assert server.mails[0].login == f"health:{PASSWORD}"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"AUTH": "535 no such user health"}, "refused the login (535); check ALERT_SMTP_USER"),
        ({"MAIL": "550 go away"}, "refused the message (550)"),
        ({"RCPT": "550 unknown"}, "refused every recipient; check ALERT_EMAIL_TO"),
        ({"DATA": "451 later"}, "refused the message (451)"),
        ({"banner": "554 no service"}, "refused the message (554)"),
        ({"banner": "hello"}, "did not answer"),
        ({"EHLO": "500 what", "HELO": "500 what"}, "check ALERT_SMTP_SECURITY"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_password(answers: dict[str, str | None], said: str) -> None:
    with mail_server(answers, offers=("AUTH PLAIN",)) as server:
        with pytest.raises(NotDeliveredError) as refused:
            mail(server, ALERT_SMTP_USER="health", ALERT_SMTP_PASSWORD=PASSWORD).send(MESSAGE)
        assert not server.mails
    message = str(refused.value)
    assert message.startswith(f"The mail server localhost:{server.port} ")
    assert said in message
    assert message.endswith(".")
    assert refused.value.__suppress_context__
    assert PASSWORD not in message


def test_a_server_that_is_not_there_is_one_sentence_that_names_the_settings() -> None:
    with mail_server() as server:
        pass
    with pytest.raises(NotDeliveredError, match=r"ConnectionRefusedError.*check ALERT_SMTP_HOST"):
        mail(server).send(MESSAGE)


@pytest.mark.parametrize("where", ["banner", "EHLO", "MAIL"])
def test_a_server_that_falls_silent_is_left_in_time(where: str) -> None:
    with mail_server({where: None}) as server:
        silent = Mail(
            "localhost",
            server.port,
            "none",
            None,
            "health@example.org",
            ("a@example.org",),
            within_seconds=0.5,
        )
        # It would wait for ever.
        with pytest.raises(NotDeliveredError, match="SMTPServerDisconnected"):
            silent.send(MESSAGE)


def test_a_server_that_takes_its_time_for_every_answer_is_left_in_time() -> None:
    with mail_server() as server:
        server.pause_seconds = 0.4
        slow = Mail(
            "localhost", server.port, "none", None, "health@example.org", ("a@example.org",), within_seconds=1
        )
        with pytest.raises(NotDeliveredError, match="TimeoutError"):
            slow.send(MESSAGE)
        assert not server.mails


def test_what_cannot_be_sent_does_not_show_the_password_that_it_is_in() -> None:
    # SMTP knows no such letters, and Python's error holds the whole text.
    password = f"{PASSWORD}é"
    with (
        mail_server(offers=("AUTH PLAIN",)) as server,
        pytest.raises(NotDeliveredError, match="UnicodeEncodeError") as refused,
    ):
        mail(server, ALERT_SMTP_USER="health", ALERT_SMTP_PASSWORD=password).send(MESSAGE)
    assert PASSWORD not in str(refused.value)
    assert refused.value.__suppress_context__


def test_a_recipient_that_is_refused_is_named_and_the_others_get_the_mail() -> None:
    with mail_server({"RCPT TO:<A@EXAMPLE.ORG>": "550 unknown"}) as server:
        with pytest.raises(PartlyDeliveredError, match=r"refused a@example\.org; check ALERT_EMAIL_TO"):
            mail(server).send(MESSAGE)
        assert [one.recipients for one in server.mails] == [["b@example.org"]]


def test_a_rude_good_bye_does_not_make_a_mail_undelivered() -> None:
    with mail_server({"QUIT": "421 go away"}) as server:
        mail(server).send(MESSAGE)
        assert len(server.mails) == 1
