"""What SQL Server says becomes a sentence of ours, without any of its words."""

import pytest

from health_pipelines.publish.mssql import errors
from health_pipelines.publish.mssql.errors import cannot_be_reached, refused, server_error
from health_pipelines_tests.publish.mssql.fake_tsql import TsqlError

VALUE = "Ada Lovelace"
# As the server words them, with a value wherever it puts one.
SAID = {
    229: f"The SELECT permission was denied on the object '{VALUE}', database 'd', schema 's'.",
    262: "CREATE TABLE permission denied in database 'd'.",
    511: "Cannot create a row of size 8211 which is greater than the allowable maximum row size of 8060.",
    515: f"Cannot insert the value NULL into column '{VALUE}', table 't'; column does not allow nulls.",
    547: f'The DELETE statement conflicted with the REFERENCE constraint "{VALUE}".',
    596: "Cannot continue the execution because the session is in the kill state.",
    701: "There is insufficient system memory in resource pool 'default' to run this query.",
    1088: f'Cannot find the object "{VALUE}" because it does not exist or you do not have permissions.',
    1105: f"Could not allocate space for object '{VALUE}' in database 'd' because the filegroup is full.",
    1205: "Transaction (Process ID 52) was deadlocked on lock resources with another process.",
    1222: "Lock request time out period exceeded.",
    1505: f"The CREATE UNIQUE INDEX statement terminated because a duplicate key was found. ({VALUE})",
    1701: "Creating or altering table 't' failed because the minimum row size would be 8097.",
    1702: "CREATE TABLE failed because column 'c' in table 't' exceeds the maximum of 1024 columns.",
    1946: "Operation failed. The index entry of length 1802 bytes for the index 'i' exceeds the maximum.",
    2601: f"Cannot insert duplicate key row in object 'o' with unique index 'i'. The value is ({VALUE}).",
    2627: f"Violation of PRIMARY KEY constraint 'p'. Cannot insert duplicate key. The value is ({VALUE}).",
    2628: f"String or binary data would be truncated in table 't', column 'c'. Truncated value: '{VALUE}'.",
    2705: "Column names in each table must be unique. Column name 'c' in table 't' is specified twice.",
    2714: f"There is already an object named '{VALUE}' in the database.",
    2760: f'The specified schema name "{VALUE}" either does not exist or may not be used.',
    3725: "The constraint 'p' is being referenced by table 't', foreign key constraint 'f'.",
    3906: 'Failed to update database "d" because the database is read-only.',
    4060: 'Cannot open database "d" requested by the login. The login failed.',
    4922: "ALTER TABLE ALTER COLUMN c failed because one or more objects access this column.",
    5074: "The object 'v' is dependent on column 'c'.",
    6005: "SHUTDOWN is in progress.",
    9002: "The transaction log for database 'd' is full due to 'ACTIVE_TRANSACTION'.",
    15247: "User does not have permission to perform this action.",
    18456: f"Login failed for user '{VALUE}'.",
    40501: "The service is currently busy. Retry the request after 10 seconds.",
    40544: "The database 'd' has reached its size quota. Partition or delete data.",
    40613: "Database 'd' on server 's' is not currently available. Please retry the connection later.",
}


def of_server(message: str) -> TsqlError:
    return TsqlError("Syntax error or access violation", f"[Microsoft][SQL Server]{message}")


@pytest.mark.parametrize(("number", "message"), SAID.items())
def test_an_error_is_known_by_its_message_and_said_in_our_words(number: int, message: str) -> None:
    error = server_error(of_server(message))
    assert error.number == number
    said = str(refused(error, "health_current.visits", "health_current"))
    assert said.startswith("health_current.visits is as it was: ")
    assert said.endswith(".")
    assert VALUE not in said
    assert message[:20] not in said
    assert "{" not in said


def test_every_number_that_is_known_is_tried_here() -> None:
    assert set(SAID) == set(errors._MESSAGES)
    assert set(errors._SENTENCES) | {18456, 4060} == set(SAID)


def test_a_value_that_reads_like_a_message_is_not_taken_for_one() -> None:
    error = server_error(of_server("Conversion failed when converting 'Login failed for user'."))
    assert error.number is None
    assert (
        str(refused(error, "a.b", "a")) == "a.b is as it was: the server refuses it (TsqlError, no number)."
    )


def test_an_error_of_no_driver_shows_none_of_its_words() -> None:
    assert VALUE not in str(refused(server_error(RuntimeError(VALUE)), "a.b", "a"))


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (of_server(SAID[18456]), "the server refuses the user or the password"),
        (of_server(SAID[4060]), "the server has no such database"),
        (
            TsqlError("Client unable to establish connection", "[Microsoft]TCP Provider: Error code 0x2749"),
            "no server listens there",
        ),
        (
            TsqlError(
                "Client unable to establish connection",
                "[Microsoft]SSL Provider: [error:0A000086:SSL routines::certificate verify failed]",
            ),
            "the server's certificate cannot be verified",
        ),
        (
            TsqlError(
                "Connection operation failed", "Failed to load the driver. Please read the documentation"
            ),
            "the driver lacks libraries",
        ),
        (ValueError(VALUE), "ValueError"),
    ],
)
def test_why_nobody_can_connect_is_said(error: Exception, why: str) -> None:
    said = str(cannot_be_reached(server_error(error)))
    assert said.startswith("The database of PUBLISH_URL cannot be used: ")
    assert why in said
    assert VALUE not in said


def test_the_drivers_own_errors_have_the_shape_that_is_read() -> None:
    driver = pytest.importorskip("mssql_python.exceptions", reason="the extra mssql is not installed")
    said = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]" + SAID[2627]
    assert server_error(driver.sqlstate_to_exception("23000", said)).number == 2627
    for state in ("08001", "08003", "08004", "08007", "08S01", "HYT00", "HYT01"):
        lost = driver.sqlstate_to_exception(state, said.replace("[SQL Server]", ""))
        assert server_error(lost).lacks is errors.Lack.CONNECTION, state
