#!/usr/bin/env bash
# A backup of an installation that may go on working: FOLDER/dagster.dump and FOLDER/data.tar.
#
#     deploy/backup.sh FOLDER              PostgreSQL as PGHOST, PGUSER, PGDATABASE, PGPASSFILE … say
#                                          (libpq's own variables), the data in HEALTH_DATA_DIR
#     deploy/backup.sh --compose FOLDER    the services of compose.yaml, in its folder
#
# It holds patients and DrChrono's tokens: keep it encrypted. Back: restore.sh. Why in this order: docs/operations.md.
set -euo pipefail
umask 077

if [ "${1:-}" = --compose ]; then
    shift
    pg_dump() { docker compose exec -T postgres pg_dump --username=dagster --dbname=dagster "$@"; }
    tar() { docker compose run --rm -T --no-deps code tar "$@"; }
    HEALTH_DATA_DIR=/var/lib/health_pipelines/data
fi
folder=${1:?say the folder to make}
data=${HEALTH_DATA_DIR:?set HEALTH_DATA_DIR to the folder with the lake}
if [ -e "$folder" ]; then
    echo "$folder is there already; each backup gets a folder of its own." >&2
    exit 1
fi
# It has its name when it is complete.
unfinished=$folder.unfinished
rm -rf "$unfinished"
mkdir -p "$unfinished"

# First the database, then the files: a day that lands in between is in the lake although Dagster waits for it, and
# lands again. The other way round Dagster would know a day as landed that is nowhere.
pg_dump --format=custom >"$unfinished/dagster.dump"

# Without what is being written, the claims of runs, which mean nothing elsewhere, the warehouse, which is made from
# the lake, and copies of a lake in a bucket, which has to be kept by the bucket's own means. A partition is replaced and never changed, so that each is whole; 1 says that files came or went.
code=0
tar --create --directory="$data" --exclude='.download' --exclude='.candidate' --exclude='.beside' --exclude='.spill' \
    --exclude='warehouse.*' --exclude='.warehouse' --exclude='*.run' --exclude='lake_copy' . >"$unfinished/data.tar" || code=$?
if [ "$code" -gt 1 ]; then
    echo "The files of $data could not be read (tar ended with $code); there is no backup." >&2
    exit 1
fi
sync "$unfinished"/* "$unfinished"
mv "$unfinished" "$folder"
echo "$folder is complete."
