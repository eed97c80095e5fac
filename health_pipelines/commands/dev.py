"""`make dev`: the Dagster UI on this machine, with schedules and sensors on.

Belongs here: which vendor and which home `make dev` uses, and what it says about that.
"""

import time

from health_pipelines.commands.environment import user_environment
from health_pipelines.commands.places import real_place, sandbox_place
from health_pipelines.commands.problem import ProblemError
from health_pipelines.commands.services import Services, port_is_free, start_dagster, start_sandbox
from health_pipelines.lake.locks import LockedElsewhereError, locked
from health_pipelines.settings import Settings
from health_pipelines.settings import variables as names


def dev(port: int) -> None:
    """Run until interrupted. Raises `ProblemError` when something does not start or dies."""
    environment = user_environment()
    asked = Settings(environment)
    with_sandbox = not (asked.has_dexcare or asked.has_drchrono)
    if not port_is_free(port):
        raise ProblemError(f"Port {port} is in use; choose another with PORT=3001.")
    place = sandbox_place(environment, in_postgres=True) if with_sandbox else real_place(environment)
    try:
        with locked(place.dagster_home, wait=False), Services(place.logs) as services:
            variables = dict(place.environment)
            if with_sandbox:
                url = start_sandbox(services, variables)
                variables[names.DEXCARE_BASE_URL.name] = variables[names.DRCHRONO_BASE_URL.name] = url
                print(
                    "No vendor is set, so this is the sandbox: the stand-in for DexCare and DrChrono at\n"
                    f"{url}, with synthetic patients. Set {names.DEXCARE_BASE_URL.name} and "
                    f"{names.DEXCARE_SERVICE_KEY.name}, or\n{names.DRCHRONO_CLIENT_ID.name} and its kin, for "
                    "real ones (.env.example)."
                )
                print(
                    f"Days can be asked for from {Settings(variables).start_date} on; set "
                    f"{names.HEALTH_START_DATE.name} for another first day."
                )
            else:
                _say_vendors(Settings(variables))
            print(f"Data and logs: {place.data}\nDagster's events: {place.storage}")
            print("Starting Dagster ...", flush=True)
            ui = start_dagster(services, variables, port=port)
            print(f"\nDagster's UI: {ui}\nSchedules and sensors are on. Ctrl-C stops everything.", flush=True)
            while True:
                services.check()
                time.sleep(1)
    except LockedElsewhereError:
        raise ProblemError(
            f"Another `make dev` or `make demo` uses {place.dagster_home}; stop it first."
        ) from None


def _say_vendors(settings: Settings) -> None:
    """What is missing is said here rather than in the first failed run."""
    if settings.has_dexcare:
        _ = settings.dexcare_service_key
        print(f"DexCare is {settings.dexcare_base_url}.")
    if settings.has_drchrono:
        if settings.drchrono_access_token is None:
            _ = settings.drchrono_client_secret, settings.drchrono_refresh_token
        print(f"DrChrono is {settings.drchrono_base_url}.")
