"""Breaks the connections that hold locks among hosts, as a restart of the server or a firewall does."""

import psycopg

from health_pipelines.lake.host_locks import APPLICATION_NAME
from health_pipelines_tests.support.waiting import wait_for


def connections(url: str) -> list[int]:
    """The server's processes that hold locks among hosts in that database."""
    with psycopg.connect(url, autocommit=True) as other:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
        )
        return [pid for (pid,) in other.execute(query, (APPLICATION_NAME,))]


def end_connections(url: str) -> int:
    """Returns how many there were, once they are gone."""
    ended = connections(url)
    with psycopg.connect(url, autocommit=True) as other:
        for pid in ended:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    wait_for(lambda: not set(ended) & set(connections(url)), "they are gone")
    return len(ended)
