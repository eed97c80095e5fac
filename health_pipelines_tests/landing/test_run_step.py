"""What Dagster keeps of an error that nobody expected: its kind and where it was, and none of its words."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    Failure,
    Output,
    asset,
    materialize,
)

from health_pipelines.landing.run_step import carried_out, without_words
from health_pipelines.landing.storage import Storage
from health_pipelines.settings import Secret
from health_pipelines.settings.postgres_address import PostgresAddress
from health_pipelines_tests.dexcare.project import failure_of

PATIENT = "Zebulon"


def lookup() -> None:
    patients: dict[str, str] = {}
    patients[PATIENT]


def caused() -> None:
    try:
        lookup()
    except KeyError as error:
        raise ValueError(f"no such patient: {PATIENT}") from error


def group() -> None:
    raise ExceptionGroup(f"about {PATIENT}", [ValueError(PATIENT)])


def concurrent() -> None:
    try:
        lookup()
    except KeyError as error:
        raise ExceptionGroup(f"about {PATIENT}", [error]) from None


def test_a_database_that_does_not_answer_is_told_in_its_own_sentence_and_may_be_tried_again() -> None:
    address = PostgresAddress.of(Secret("postgresql://user:hidden@/db?host=/nowhere"))

    with pytest.raises(Failure) as failed, without_words("visits"), address.connected():
        pass

    said = str(failed.value.description)
    assert said.startswith("The database of DAGSTER_POSTGRES_URL cannot be used: no server listens there.")
    assert failed.value.allow_retries


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(lookup, "KeyError"), (caused, "ValueError"), (group, "ExceptionGroup"), (concurrent, "KeyError")],
)
def test_of_an_error_that_nobody_expected_only_its_kind_and_its_place_are_kept(
    fault: Callable[[], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))

    @asset
    def visits(context: AssetExecutionContext, storage: Storage) -> Iterator[Output[None]]:
        patient = PATIENT
        with carried_out(context, storage):
            assert patient
            fault()
        yield Output(None)

    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [visits], instance=instance, resources={"storage": Storage()}, raise_on_error=False
        )
        kept = repr(list(instance.all_logs(result.run_id)))
    assert failure_of(result).startswith(f"An unexpected {kind} in the step visits, at line ")
    assert "test_run_step.py" in failure_of(result)
    assert fault.__name__ in kept
    assert PATIENT not in kept


def test_a_failure_with_a_sentence_of_its_own_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEALTH_DATA_DIR", str(tmp_path))

    @asset
    def visits(context: AssetExecutionContext, storage: Storage) -> None:
        with carried_out(context, storage):
            raise Failure("dexcare/visits: the key is refused.")

    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [visits], instance=instance, resources={"storage": Storage()}, raise_on_error=False
        )
    assert failure_of(result) == "dexcare/visits: the key is refused."
