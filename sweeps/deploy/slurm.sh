#!/bin/bash
# A sweep on the nodes of one Slurm job: a Ray node on each of them, the sweep itself on the first.
#
#     sbatch slurm.sh CONFIG DIR [OPTION ...]      # OPTIONs go to `conclugen sweep run`, such as --set budget.seeds=5
#
# CONFIG, the features that it names and DIR lie on a file system that all nodes share, and so does the Python
# environment, which is activated before sbatch. Change the lines below; sbatch's own options win over them.
# To stop a sweep early and keep what has finished: scancel --batch --signal=TERM JOBID

#SBATCH --job-name=conclugen
#SBATCH --output=conclugen-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=128G
#SBATCH --time=24:00:00
# Two minutes before the time is up, tell this script (B:), not the Ray nodes: the sweep has to end before they do.
#SBATCH --signal=B:TERM@120

set -euo pipefail
set -m  # without job control, bash has background processes ignore the interrupt that the sweep has to heed
: "${2:?usage: sbatch slurm.sh CONFIG DIR [OPTION ...]}"

# A token for this job alone: other users of these machines cannot run code in its cluster. It lives in the environment,
# which srun hands on, and neither on a disc nor in a command line.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
export RAY_gcs_server_port_wait_time_s=300      # nodes that start before the head does wait for it
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # nodes end after the sweep: nothing has to be moved elsewhere

# This script runs on the job's first node, where the head will be. A free port, because the node may run other jobs.
SWEEP_ADDRESS=$(python -c '
import socket, ray
with socket.socket() as free:
    free.bind(("", 0))
    print(f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}")')
SWEEP_SCRATCH=/tmp/ray-$SLURM_JOB_ID  # /tmp/ray may be another user's; a long path is too long for Ray's sockets
export SWEEP_ADDRESS SWEEP_SCRATCH

on_every_node=(srun "--nodes=$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "--cpus-per-task=$SLURM_CPUS_PER_TASK")

# Worker ports are the system's choice and the object store is small (features are files, not Ray objects): so the node
# can be shared with other jobs. Ray would otherwise claim fixed ports and a third of the machine's memory.
# shellcheck disable=SC2016  # the variables are the nodes' own
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
    kill "$nodes" || true  # srun hands it on; they may have ended by themselves
    wait "$nodes" || true
    "${on_every_node[@]}" rm -rf "$SWEEP_SCRATCH" || true
}
trap stop_nodes EXIT

# One CPU on each of so many nodes is there when all of them have joined: Ray tells, nobody has to look.
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

# What Ctrl-C does. The sweep writes down what has finished and answers 130, and so does this script.
interrupt() {
    trap '' TERM INT USR1
    local answer=0
    kill -INT -- "-$sweep" || true  # it may just have ended
    wait "$sweep" || answer=$?
    exit "$answer"
}
trap interrupt TERM INT USR1

wait "$sweep"
