"""A mail server on this machine that takes what it is sent, or refuses what a test told it to."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

import trustme

AUTHORITY = trustme.CA()


@dataclass(frozen=True)
class Taken:
    """A mail that the server has taken. `encrypted`: whether it came over TLS. `login`: who sent it."""

    sender: str
    recipients: list[str]
    encrypted: bool
    login: str | None
    mail: EmailMessage

    @property
    def text(self) -> str:
        return str(self.mail.get_content())


@dataclass
class MailServer:
    """`answers`: what it says to a command that begins so, instead of doing it; None is silence.

    `pause_seconds`: how long it takes for each answer.
    """

    port: int
    offers: list[str]
    tls: bool
    answers: Mapping[str, str | None] = field(default_factory=dict)
    mails: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    pause_seconds: float = 0
    stopped: threading.Event = field(default_factory=threading.Event)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@contextmanager
def mail_server(
    answers: Mapping[str, str | None] | None = None, *, offers: tuple[str, ...] = (), tls: bool = False
) -> Iterator[MailServer]:
    """`offers`: such as STARTTLS and `AUTH PLAIN`. `tls`: from the start. Gone when the block ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                _Conversation(server, self.request).hold()
            except OSError:  # the other side has left
                return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        server = MailServer(listening.server_address[1], list(offers), tls, answers or {})
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            listening.shutdown()
            thread.join(10)


class _Conversation:
    def __init__(self, server: MailServer, connection: ssl.SSLSocket) -> None:
        self.server = server
        self.connection = connection
        self.encrypted = False
        self.login: str | None = None
        self.sender = ""
        self.recipients: list[str] = []

    def hold(self) -> None:
        if self.server.tls:
            self._encrypt()
        self.lines = self.connection.makefile("rb")
        self._say(self.server.answers.get("banner", "220 localhost"))
        while line := self.lines.readline():
            command = line.decode().strip()
            self.server.commands.append(command)
            verb = command.split(" ")[0].upper()
            told = [text for begin, text in self.server.answers.items() if command.upper().startswith(begin)]
            if told:
                self._say(told[0])
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._do(verb, command)

    def _do(self, verb: str, command: str) -> None:
        match verb:
            case "EHLO":
                offers = ["localhost", *(one for one in self.server.offers)]
                for offer in offers[:-1]:
                    self._say(f"250-{offer}")
                self._say(f"250 {offers[-1]}")
            case "STARTTLS":
                self._say("220 go on")
                self._encrypt()
                self.lines = self.connection.makefile("rb")
            case "AUTH":
                _, user, password = base64.b64decode(command.split(" ")[2]).decode().split("\0")
                self.login = f"{user}:{password}"
                self._say("235 welcome")
            case "MAIL":
                self.sender, self.recipients = _address(command), []
                self._say("250 ok")
            case "RCPT":
                self.recipients.append(_address(command))
                self._say("250 ok")
            case "DATA":
                self._say("354 go on")
                # A dot at the start of a line is doubled on its way.
                lines = iter(self.lines.readline, b".\r\n")
                body = b"".join(line.removeprefix(b".") for line in lines)
                mail = message_from_bytes(body, policy=policy.default)
                self.server.mails.append(
                    Taken(self.sender, self.recipients, self.encrypted, self.login, mail)
                )
                self._say("250 taken")
            case _:
                self._say("502 unknown")

    def _encrypt(self) -> None:
        self.connection = _context().wrap_socket(self.connection, server_side=True)
        self.encrypted = True

    def _say(self, text: str | None) -> None:
        if text is None:
            self.server.stopped.wait(30)
            return
        self.server.stopped.wait(self.server.pause_seconds)
        self.connection.sendall(f"{text}\r\n".encode())


def _address(command: str) -> str:
    return command.partition("<")[2].partition(">")[0]
