#!/bin/bash
# A sweep on the nodes of one Slurm job: each node runs a Ray node, and the first one also runs the sweep.
#
#     sbatch slurm.sh CONFIG DIR [OPTION ...]      # OPTIONs go to `conclugen sweep run`, such as --set budget.seeds=5
#
# CONFIG, its features, DIR and the Python environment must lie on a file system that all nodes share. Activate the
# environment before sbatch. Change the lines below as needed; sbatch's own options take precedence over them.
# To stop a sweep early and keep its finished jobs: scancel --batch --signal=TERM JOBID

#SBATCH --job-name=conclugen
#SBATCH --output=conclugen-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=128G
#SBATCH --time=24:00:00
# Two minutes before the time is up, Slurm signals this script (B:), not the Ray nodes: the sweep must end before them.
#SBATCH --signal=B:TERM@120

set -euo pipefail
set -m  # without job control, bash makes background processes ignore interrupts, but the sweep must see them
: "${2:?usage: sbatch slurm.sh CONFIG DIR [OPTION ...]}"

# The job has a token of its own, so other users of these machines cannot run code in its cluster. Only the environment
# holds the token, and srun passes it on. So the token is neither on a disc nor in a command line.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_gcs_server_port_wait_time_s=300      # nodes that start before the head wait for it
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # nodes end after the sweep, so they have no work to hand over

# This script runs on the job's first node, where the head will run. The port is a free one, because the node may also
# run other jobs.
SWEEP_ADDRESS=$(python -c '
import socket, ray
with socket.socket() as free:
    free.bind(("", 0))
    print(f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}")')
SWEEP_SCRATCH=/tmp/ray-$SLURM_JOB_ID  # /tmp/ray may belong to another user; Ray's sockets need a short path
export SWEEP_ADDRESS SWEEP_SCRATCH

on_every_node=(srun "--nodes=$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "--cpus-per-task=$SLURM_CPUS_PER_TASK")

# The system chooses the workers' ports, and the object store is small, because features are files and not Ray objects.
# Thus other jobs can share the node. By default, Ray would claim fixed ports and a third of the machine's memory.
# shellcheck disable=SC2016  # each node expands the variables itself
"${on_every_node[@]}" bash -c '
    if ((SLURM_NODEID == 0)); then
        role=(--head "--port=${SWEEP_ADDRESS##*:}" --include-dashboard=false)
    else
        role=("--address=$SWEEP_ADDRESS")
    fi
    exec ray start "${role[@]}" --block --disable-usage-stats "--num-cpus=$SLURM_CPUS_PER_TASK" \
        --object-store-memory=1000000000 --min-worker-port=0 --max-worker-port=0 "--temp-dir=$SWEEP_SCRATCH"
' &
nodes=$!

stop_nodes() {
    kill "$nodes" || true  # srun passes the signal on; the nodes may have ended already
    wait "$nodes" || true
    "${on_every_node[@]}" rm -rf "$SWEEP_SCRATCH" || true
}
trap stop_nodes EXIT

# A placement group with one CPU on each node is ready when all nodes have joined; no polling is needed.
(
    python - <<'PYTHON'
import os

import ray
from ray.util.placement_group import placement_group

ray.init(address=os.environ["SWEEP_ADDRESS"], logging_level="WARNING")
nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
if not placement_group([{"CPU": 1}] * nodes, strategy="STRICT_SPREAD").wait(600):
    raise SystemExit(f"error: {nodes} nodes should have joined, but only {len(ray.nodes())} have, in 10 minutes")
PYTHON
    exec conclugen sweep run "$1" --out "$2" --address "$SWEEP_ADDRESS" "${@:3}"
) &
sweep=$!

# Interrupt the sweep as Ctrl-C does. The sweep saves its finished jobs and exits with 130, and so does this script.
interrupt() {
    trap '' TERM INT USR1
    local status=0
    kill -INT -- "-$sweep" || true  # the sweep may just have ended
    wait "$sweep" || status=$?
    exit "$status"
}
trap interrupt TERM INT USR1

wait "$sweep"
