"""Alerts as e-mail.

Belongs here: handing a message to a mail server (SMTP), within a bounded time. Does not belong here: when
that is done (`sensor.py`).
"""

import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid

from health_pipelines.alerts.channel import NotDeliveredError, PartlyDeliveredError
from health_pipelines.alerts.news import Message
from health_pipelines.http import is_loopback
from health_pipelines.settings import Secret, SettingError, Settings
from health_pipelines.settings.variables import (
    ALERT_EMAIL_TO,
    ALERT_SMTP_HOST,
    ALERT_SMTP_PASSWORD,
    ALERT_SMTP_PORT,
    ALERT_SMTP_SECURITY,
    ALERT_SMTP_USER,
)

NAME = "e-mail"
# Every step begins within this time and takes no longer than it: a tick of a sensor has 60 s.
WITHIN_SECONDS = 15.0


@dataclass(frozen=True)
class Mail:
    """`security`: starttls, tls or none. `login`: user and password; None without a login."""

    host: str
    port: int
    security: str
    login: tuple[str, Secret] | None
    sender: str
    recipients: tuple[str, ...]
    within_seconds: float = WITHIN_SECONDS

    def __post_init__(self) -> None:
        if self.login and self.security == "none" and not is_loopback(self.host):
            raise SettingError(
                f"{ALERT_SMTP_SECURITY.name} is 'none', and {ALERT_SMTP_PASSWORD.name} would cross the "
                "network in clear; use starttls or tls."
            )

    @classmethod
    def of(cls, settings: Settings) -> "Mail":
        """Raises `SettingError`."""
        user = settings.alert_smtp_user
        return cls(
            host=settings.alert_smtp_host,
            port=settings.alert_smtp_port,
            security=settings.alert_smtp_security,
            login=(user, settings.alert_smtp_password) if user else None,
            sender=settings.alert_email_from,
            recipients=settings.alert_email_to,
        )

    def send(self, message: Message) -> None:
        """Returns when the server has taken it for every recipient.

        Raises `PartlyDeliveredError` if it refused some of them, `NotDeliveredError` otherwise.
        """
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = message.subject
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Date"] = format_datetime(localtime())
        mail["Message-ID"] = make_msgid(domain=self._domain)
        # An answer of an absent recipient helps nobody.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{message.text}\n")
        try:
            with self._server() as server:
                refused = self._hand_over(server, mail.as_bytes())
        except (OSError, UnicodeError) as error:
            # `from None`: what was sent, the password too, may be in the exception.
            raise NotDeliveredError(self._problem(error)) from None
        if refused:
            raise PartlyDeliveredError(
                f"The mail server refused {', '.join(refused)}; check {ALERT_EMAIL_TO.name}. The others got "
                "the message."
            )

    @property
    def _domain(self) -> str:
        # Asking for this machine's own full name may take longer than all the rest.
        return self.sender.partition("@")[2]

    @contextmanager
    def _server(self) -> Iterator["_Server"]:
        server = _Server(self, self._domain)
        try:
            yield server
        finally:
            server.close()

    def _hand_over(self, server: "_Server", mail: bytes) -> list[str]:
        """Returns the recipients that were refused, if not all of them were."""
        server.hurry().ehlo()
        if self.security == "starttls":
            server.hurry().starttls(context=ssl.create_default_context())
            server.hurry().ehlo()
        if self.login is not None:
            user, password = self.login
            server.hurry().login(user, password.reveal())
        _expect(server.hurry().mail(self.sender), 250)
        answers = {one: server.hurry().rcpt(one) for one in self.recipients}
        refused = [one for one, (code, _) in answers.items() if code not in (250, 251)]
        if len(refused) == len(self.recipients):
            raise smtplib.SMTPRecipientsRefused(answers)
        _expect(server.hurry().data(mail), 250)
        return refused

    def _problem(self, error: Exception) -> str:
        server = f"The mail server {self.host}:{self.port}"
        match error:
            case smtplib.SMTPAuthenticationError():
                names = f"{ALERT_SMTP_USER.name} and {ALERT_SMTP_PASSWORD.name}"
                return f"{server} refused the login ({error.smtp_code}); check {names}."
            case smtplib.SMTPRecipientsRefused():
                return f"{server} refused every recipient; check {ALERT_EMAIL_TO.name}."
            case smtplib.SMTPNotSupportedError():
                return (
                    f"{server} does not offer what is asked of it; check {ALERT_SMTP_SECURITY.name}, "
                    f"{ALERT_SMTP_PORT.name} and {ALERT_SMTP_USER.name}."
                )
            case smtplib.SMTPResponseException() if error.smtp_code > 0:
                return f"{server} refused the message ({error.smtp_code})."
            case ssl.SSLCertVerificationError():
                return f"{server} has a certificate that is not trusted; check {ALERT_SMTP_HOST.name}."
        return (
            f"{server} did not answer as one ({type(error).__name__}); check {ALERT_SMTP_HOST.name}, "
            f"{ALERT_SMTP_PORT.name} and {ALERT_SMTP_SECURITY.name}."
        )


class _Server:
    """A connection to a mail server on which everything together takes a bounded time."""

    def __init__(self, mail: Mail, domain: str) -> None:
        self._end = time.monotonic() + mail.within_seconds
        self._smtp = (
            smtplib.SMTP_SSL(
                mail.host,
                mail.port,
                local_hostname=domain,
                timeout=mail.within_seconds,
                context=ssl.create_default_context(),
            )
            if mail.security == "tls"
            else smtplib.SMTP(mail.host, mail.port, local_hostname=domain, timeout=mail.within_seconds)
        )

    def hurry(self) -> smtplib.SMTP:
        """The connection, for another step. Raises `TimeoutError` when the time is up."""
        if time.monotonic() > self._end:
            raise TimeoutError
        return self._smtp

    def close(self) -> None:
        # The server has taken the message or has not; how it says good-bye changes nothing.
        with suppress(OSError):
            self.hurry().quit()
        self._smtp.close()


def _expect(answer: tuple[int, bytes], code: int) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)
