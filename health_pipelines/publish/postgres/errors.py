"""What PostgreSQL says when a table cannot be published, as one sentence of ours.

Belongs here: the sentences. Does not belong here: why nobody can connect (`settings/postgres_address.py`).
None of the server's words is shown but names of its roles: they may quote a value.
"""

import psycopg

from health_pipelines.publish.tables import PublishError
from health_pipelines.settings.variables import PUBLISH_SCHEMA, PUBLISH_URL

_BY_STATE = {
    "42501": f"the user of {PUBLISH_URL.name} may not do that in the target; let it create schemas in the "
    "database, or own {schema} and what is in it",
    "53100": "the server's disk is full; make room there",
    "53200": "the server has no memory left; see what else it does",
    "25006": f"the server takes no changes; let {PUBLISH_URL.name} lead to the primary",
    "23505": "its key repeats in the target, or somebody wrote into it meanwhile; the next publishing "
    "compares all of it",
    "54000": "a key is too long for an index of PostgreSQL; leave the table out of PUBLISH_TABLES",
    "2BP01": "something of others depends on its key, such as a foreign key; drop that first",
    "0A000": "a column of it has to have a wider type, and a view or rule of others uses it; drop that, and "
    "make it again afterwards",
    "57014": "the server cancelled it, by hand or by its statement_timeout; set a longer one for the user of "
    f"{PUBLISH_URL.name}",
    "57P01": "the server was stopped meanwhile; the next publishing tries again",
    "57P02": "the server crashed meanwhile; the next publishing tries again",
    "57P03": "the server is starting or stopping; the next publishing tries again",
    "25P03": "the server ended a transaction that waited; raise its idle_in_transaction_session_timeout",
}


def sentence_of(error: psycopg.Error, schema: str) -> str:
    """Why a table is as it was, without its name. `schema`: that it is published into."""
    if found := _BY_STATE.get(error.sqlstate or ""):
        return found.format(schema=schema)
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return "the connection to the server broke; the next publishing tries again"
    return f"the server refuses it ({type(error).__name__}, {error.sqlstate or 'no code'})"


def refused(error: psycopg.Error, full_name: str, schema: str) -> PublishError:
    """The error of a table. To be raised where the server's own is no longer handled."""
    return PublishError(f"{full_name} is as it was: {sentence_of(error, schema)}.")


def schema_cannot_be_made(error: psycopg.Error, schema: str) -> PublishError:
    return PublishError(
        f"The schema {schema} cannot be made: {sentence_of(error, schema)}; or choose another "
        f"{PUBLISH_SCHEMA.name}."
    )
