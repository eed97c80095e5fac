#!/usr/bin/env bash
# Put the program of this checkout where the systemd units expect it; run as root, for a first installation and for
# every other version. It touches neither settings nor data, and starts nothing. BASE_PYTHON: a Python 3.11 to 3.13.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
program=/opt/health_pipelines

id health >/dev/null 2>&1 || useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin health
# Not the one of root's PATH, which may be below a home folder, where no service can start it.
python=${BASE_PYTHON:-/usr/bin/python3}
"$python" -m venv --clear "$program/venv"
fits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
if ! runuser -u health -- "$program/venv/bin/python" -c "$fits"; then
    echo "$python is no Python 3.11 to 3.13 that the user health can start; name one with BASE_PYTHON." >&2
    exit 1
fi
pip() { "$program/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --require-hashes -r deploy/requirements.lock
# The lock has the build tool too, so that nothing is downloaded that is not hashed.
pip install --no-deps --no-build-isolation .
install -D -m 644 dagster.yaml "$program/dagster_home/dagster.yaml"
install -D -m 644 deploy/workspace.yaml "$program/workspace.yaml"
install -d -m 755 /etc/health_pipelines
install -d -m 750 -g health /etc/health_pipelines/secrets
install -m 644 deploy/systemd/* /etc/systemd/system/
install -D -m 755 deploy/health-pipelines /usr/local/sbin/health-pipelines
"$program/venv/bin/health-pipelines" --help >/dev/null
echo "Installed in $program."
