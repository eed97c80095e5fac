"""PUBLISH_URL as the address of a SQL Server."""

import pytest

from health_pipelines.publish.mssql.address import MssqlAddress
from health_pipelines.publish.tables import PublishError
from health_pipelines.settings.secret import Secret


def parameters(url: str) -> dict[str, str]:
    return dict(MssqlAddress.of(Secret(url)).parameters)


def test_every_part_of_a_url_is_read() -> None:
    found = parameters("mssql://an%40na:p%2F%3B%7D%40%C3%A9+w@sql.example:1444/the%20db?packetsize=8192")
    assert found["Server"] == "tcp:sql.example,1444"
    assert (found["UID"], found["PWD"], found["Database"]) == ("an@na", "p/;}@é+w", "the db")
    assert found["PacketSize"] == "8192"


def test_connections_are_encrypted_and_certificates_verified_unless_the_url_says_otherwise() -> None:
    found = parameters("mssql://u:p@h/d")
    assert (found["Server"], found["Encrypt"], found["TrustServerCertificate"]) == ("tcp:h,1433", "yes", "no")
    found = parameters("mssql://u:p@h/d?encrypt=strict&TrustServerCertificate=yes")
    assert (found["Encrypt"], found["TrustServerCertificate"]) == ("strict", "yes")


def test_a_user_is_left_out_where_a_service_signs_in_by_itself() -> None:
    assert not {"UID", "PWD"} & set(parameters("mssql://h/d?Authentication=ActiveDirectoryMSI"))


def test_the_driver_knows_every_parameter() -> None:
    driver = pytest.importorskip("mssql_python.connection_string_parser", reason="the extra is not installed")
    every = parameters(
        "mssql://u:p@h/d?HostNameInCertificate=x&ServerCertificate=x&Authentication=x&MultiSubnetFailover=x&"
        "IpAddressPreference=x&PacketSize=1"
    )
    assert all(driver._ConnectionStringParser.normalize_key(name) for name in every)


@pytest.mark.parametrize(
    "url",
    [
        "mssql://user:S3cret@host",
        "mssql://user:S3cret@/database",
        "mssql://user:S3c/ret@host/database",
        "mssql://user:S3c?ret@host/database",
        "mssql://user:S3c#ret@host/database",
        "mssql://user:S3cret@host:port/database",
        "mssql://user:S3cret@host/database?Driver=S3cret",
        "mssql://user:S3cret@host/database?Encrypt",
        "mssql://user:S3cret@host/data/base",
        "mssql://user:S3cret%00@host/database",
        "mssql://user:S3cret@[host/database",
        "mysql://user:S3cret@host/database",
        "S3cret",
        "",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(PublishError, match="PUBLISH_URL is not a URL like mssql://") as caught:
        MssqlAddress.of(Secret(url))
    assert "S3c" not in str(caught.value)


def test_nobody_sees_the_password_of_an_address() -> None:
    address = MssqlAddress.of(Secret("mssql://anna:S3cret@host/database"))
    assert address.shown == "host:1433, database database"
    assert "S3cret" not in repr(address)
    assert "anna" not in repr(address)
