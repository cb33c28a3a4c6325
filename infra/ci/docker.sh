#!/usr/bin/env bash
# The images and the pipeline in them, on a machine without a registry and without an engine.
#
# Where no Docker engine answers and this is root on Debian, one is started from Debian's packages,
# with all that it keeps in a folder that is removed in the end. The base image is made with
# debootstrap; what this machine needs to reach its package index goes into the build image alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

needed_gb=20
log=build/ci-docker.log
mkdir -p build
: >"$log"

skip() {
    echo "SKIPPED docker: $1"
    exit 0
}

if ! docker version >/dev/null 2>&1; then
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null ||
        skip "no Docker engine answers, and only root on Debian can start one here"
    free_gb=$(df --output=avail -BG /var/tmp | tail -1 | tr -dc '0-9')
    [ "$free_gb" -ge "$needed_gb" ] ||
        skip "/var/tmp has $free_gb GB free, the images need $needed_gb"
    if ! command -v dockerd >/dev/null || ! command -v debootstrap >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            docker.io debootstrap >>"$log" 2>&1
    fi
    work=$(mktemp -d /var/tmp/lookalike-docker.XXXXXX)
    export DOCKER_HOST="unix://$work/docker.sock"
    # A session of its own: Ctrl-C ends this script, which then ends the engine in order.
    setsid dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/run" \
        --pidfile "$work/pid" --bridge=none --iptables=false >>"$log" 2>&1 &
    engine=$!
    end() {
        kill "$engine" 2>/dev/null || true
        for _ in $(seq 40); do
            kill -0 "$engine" 2>/dev/null || break
            sleep 0.5
        done
        kill -9 "$engine" "$(cat "$work/run/containerd/containerd.pid" 2>/dev/null)" 2>/dev/null || true
        awk -v work="$work/" 'index($2, work) == 1 {print $2}' /proc/mounts | sort -r |
            xargs -r umount --lazy || true
        rm -rf "$work"
    }
    trap end EXIT
    for _ in $(seq 60); do
        docker version >/dev/null 2>&1 && break
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.5
    done
    if ! docker version >/dev/null 2>&1; then
        tail -5 "$log"
        skip "dockerd does not start on this machine"
    fi

    base=lookalike-ci/base
    echo "making the base image with debootstrap"
    debootstrap --variant=minbase \
        --include=ca-certificates,python3,python3-pip,python3-venv bookworm "$work/base" >>"$log" 2>&1
    tar -C "$work/base" -c . | docker import - "$base" >>"$log"

    context=$work/context
    mkdir -p "$context/certificates"
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp {} "$context/certificates" \;
    touch "$context/certificates/none" "$context/pip.conf"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$context/pip.conf"
    {
        echo "FROM $base"
        echo "COPY certificates /usr/local/share/ca-certificates/"
        echo "COPY pip.conf /etc/pip.conf"
        echo "RUN [\"update-ca-certificates\"]"
        echo "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"
        for name in PIP_INDEX_URL UV_DEFAULT_INDEX UV_INDEX_URL; do
            [ -z "${!name:-}" ] || echo "ENV $name=${!name}"
        done
    } >"$context/Dockerfile"
    export DOCKER_BUILDKIT=0
    docker build --quiet --network host --tag lookalike-ci/build "$context" >>"$log" 2>&1
    export BASE_IMAGE=$base BUILD_IMAGE=lookalike-ci/build BUILD_NETWORK=host
fi

echo "building the images (log: $log)"
if ! make --no-print-directory images PYTHON="${PYTHON:-python3}" >build/images.out 2>>"$log"; then
    tail -40 build/images.out "$log"
    exit 1
fi
grep ' MB, ' build/images.out
.venv/bin/python -m pytest -m docker tests
