"""How a variable becomes a value, and a bad one a sentence.

Belongs here: reading one variable as text, number, time, zone, folder or address. Does not belong here: which
settings there are (`variables.py`), and what each of them is read as (`values.py`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from health_pipelines.settings.secret import Secret
from health_pipelines.settings.secret_file import SecretFileError, secret_in
from health_pipelines.settings.setting import Setting

T = TypeVar("T")
# Where each kind of database listens unless somebody says otherwise.
DATABASE_PORTS = {"postgresql": 5432, "mssql": 1433}


class SettingError(ValueError):
    """A setting is missing or cannot be understood; the message names it and says what to do."""


class MissingSettingError(SettingError):
    """A setting that has no default is not set."""


@dataclass(frozen=True)
class Variables:
    """Variables by name, to be read as what they should be.

    Every method raises `SettingError` when its variable is missing or malformed.
    """

    # Not shown: it holds the keys.
    environment: Mapping[str, str] = field(repr=False)

    def secret(self, setting: Setting) -> Secret:
        return Secret(self.text(setting))

    def database_url(
        self,
        url: Setting,
        *,
        host: Setting,
        port: Setting,
        database: Setting,
        user: Setting,
        password: Setting,
        scheme: str = "postgresql",
    ) -> Secret | None:
        """A database's URL, put together if its parts are set; None if neither is. It holds a password."""
        text, at = self.optional(url), self.optional(host)
        who, where = self.text(user), self.text(database)
        number = self.port(port) if self.optional(port) or port.default else DATABASE_PORTS[scheme]
        word = self.secret_if_set(password)
        if text and at:
            raise SettingError(f"{url.name} and {host.name} are both set; remove one of them.")
        if not at:
            return Secret(text) if text else None
        owner = quote(who, safe="") + (f":{quote(word.reveal(), safe='')}" if word else "")
        if scheme != "postgresql":
            server = f"[{at}]" if ":" in at else at
            return Secret(f"{scheme}://{owner}@{server}:{number}/{quote(where, safe='')}")
        # In the query a host may also be a folder with a socket, or an address of IPv6.
        place = urlencode({"host": at, "port": number}, quote_via=quote)
        return Secret(f"postgresql://{owner}@/{quote(where, safe='')}?{place}")

    def secret_if_set(self, setting: Setting) -> Secret | None:
        text = self.optional(setting)
        return Secret(text) if text else None

    def yes_or_no(self, setting: Setting) -> bool:
        text = self.text(setting).lower()
        if text not in ("true", "false"):
            raise SettingError(f"{setting.name} is {text!r}, neither true nor false.")
        return text == "true"

    def folder(self, setting: Setting) -> Path:
        text = self.text(setting)
        try:
            return Path(text).expanduser().absolute()
        except RuntimeError:  # no such user
            raise SettingError(f"{setting.name} is {text!r}, a home folder that is not known.") from None

    def zone(self, setting: Setting) -> ZoneInfo:
        name = self.text(setting)
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # unknown, malformed, or the name of a folder
            raise SettingError(
                f"{setting.name} is {name!r}, which is not an IANA time zone such as America/Chicago."
            ) from None

    def addresses(self, setting: Setting, *texts: str) -> tuple[str, ...]:
        addresses = tuple(text.strip() for text in texts)
        for address in addresses:
            if not address.isascii() or not re.fullmatch(r"[^@\s<>,;:]+@[^@\s<>,;:]+", address):
                raise SettingError(
                    f"{setting.name} is {self.text(setting)!r}, where {address!r} is not an address like "
                    "data-team@YOUR_DOMAIN.com."
                )
        return addresses

    def time_of_day(self, setting: Setting) -> time:
        text = self.text(setting)
        try:
            return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 (a time of day has no zone)
        except ValueError:
            raise SettingError(f"{setting.name} is {text!r}, not a time of day like 02:15.") from None

    def text(self, setting: Setting) -> str:
        value = self.optional(setting) or setting.default
        if value is None:
            raise MissingSettingError(f"{setting.name} is not set. {setting.meaning}")
        return value

    def optional(self, setting: Setting) -> str:
        if not setting.secret or not self.variable(setting.file_name):
            return self.variable(setting.name)
        if self.variable(setting.name):
            raise SettingError(f"{setting.name} and {setting.file_name} are both set; remove one of them.")
        try:
            return secret_in(self.variable(setting.file_name)).reveal()
        except SecretFileError as error:
            problem = str(error)
        raise SettingError(f"{setting.file_name} is {self.variable(setting.file_name)!r}, which {problem}.")

    def is_set(self, setting: Setting) -> bool:
        return any(self.variable(name) for name in setting.variables)

    def variable(self, name: str) -> str:
        # An empty variable is an unset one: compose files and CI systems pass those on.
        return self.environment.get(name, "").strip()

    def port(self, setting: Setting) -> int:
        port = self.whole_number(setting)
        if port > 65535:
            raise SettingError(f"{setting.name} is '{port}', which no port has as its number.")
        return port

    def part(self, setting: Setting) -> float:
        text = self.text(setting)
        try:
            part = float(text)
        except ValueError:
            part = -1
        if not 0 <= part <= 1:
            raise SettingError(f"{setting.name} is {text!r}, not a number from 0 to 1. {setting.meaning}")
        return part

    def whole_number(self, setting: Setting) -> int:
        text = self.text(setting)
        try:
            number = int(text)
        except ValueError:
            number = 0
        if number < 1:
            raise SettingError(f"{setting.name} is {text!r}, not a whole number above 0. {setting.meaning}")
        return number

    def whole_number_or_0(self, setting: Setting) -> int:
        return 0 if self.text(setting) == "0" else self.whole_number(setting)


class Value(Generic[T]):
    """A property that is one setting, read in one way: `at = Value(Variables.time_of_day, DAILY_AT)`."""

    def __init__(self, read: Callable[[Any, Setting], T], setting: Setting) -> None:
        self._read = read
        self._setting = setting

    @overload
    def __get__(self, variables: None, owner: type) -> Self: ...

    @overload
    def __get__(self, variables: Variables, owner: type) -> T: ...

    def __get__(self, variables: Variables | None, owner: type) -> Self | T:
        return self if variables is None else self._read(variables, self._setting)
