#!/usr/bin/env bash
# Bring a backup of backup.sh into an empty database and an empty data folder. No service of the installation may
# run; the options and variables are those of backup.sh.
#
#     deploy/restore.sh FOLDER
#     deploy/restore.sh --compose FOLDER
set -euo pipefail
umask 077

if [ "${1:-}" = --compose ]; then
    shift
    docker compose up --detach --wait postgres
    psql() { docker compose exec -T postgres psql --username=dagster "$@"; }
    pg_restore() { docker compose exec -T postgres pg_restore --username=dagster "$@"; }
    in_data() { docker compose run --rm -T --no-deps --workdir=/var/lib/health_pipelines/data code "$@"; }
    PGDATABASE=dagster
else
    data=${HEALTH_DATA_DIR:?set HEALTH_DATA_DIR to the folder that is to have the lake}
    mkdir -p "$data"
    in_data() { (cd "$data" && "$@"); }
fi
folder=$(realpath "${1:?say the folder of the backup}")
database=${PGDATABASE:?set PGDATABASE to the name of the empty database}
# Both files can take many minutes; on a terminal it is seen how far they are.
read_shown() {
    echo "$(basename "$1"): $(du --human-readable "$1" | cut -f1) to restore" >&2
    dd if="$1" bs=1M status="$([ -t 2 ] && echo progress || echo none)"
}
query() { psql --no-psqlrc --quiet --tuples-only --no-align --dbname="$database" --command="$1"; }

files=$(in_data find . -mindepth 1 -print -quit)
if [ -n "$files" ]; then
    echo "The data folder is not empty; nothing was restored." >&2
    exit 1
fi
tables=$(query "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
if [ "$tables" != 0 ]; then
    echo "The database $database is not empty; nothing was restored." >&2
    exit 1
fi
read_shown "$folder/dagster.dump" | pg_restore --exit-on-error --single-transaction --no-owner --dbname="$database"
read_shown "$folder/data.tar" | in_data tar --extract --preserve-permissions

# Runs that were under way have no process here. A claim that nobody holds says so: the next tick of a sensor
# marks them as failed, and Dagster tries them again (health_pipelines/landing/run_claims.py).
runs=$(in_data find . -maxdepth 2 -type d -name runs -print -quit)
claims=$(query "SELECT '${runs:=runs}/' || run_id || '.run' FROM runs WHERE status IN ('STARTED', 'CANCELING')")
if [ -n "$claims" ]; then
    in_data mkdir -p "$runs"
    # shellcheck disable=SC2086 # a word for each
    in_data touch $claims
fi
echo "Restored. Start the services and ask for the days since the backup (docs/operations.md)."
