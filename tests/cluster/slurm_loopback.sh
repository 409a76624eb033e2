#!/usr/bin/env bash
# Runs a sweep on a real SLURM with one controller and one node on the loopback address. Run it as root, on Debian with
# slurm-wlm installed, from the top of a checkout after `make setup`:
#   bash tests/cluster/slurm_loopback.sh
set -euo pipefail
work=$(mktemp -d)
host=$(hostname -s)
export SLURM_CONF=$work/slurm.conf
mkdir -p "$work"/{state,spool} /run/munge
cat > "$SLURM_CONF" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=4000
PartitionName=all Nodes=ALL Default=YES State=UP
AuthType=auth/munge
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MpiDefault=none
KillWait=30
CONF
stop() {
  pkill -F "$work/slurmd.pid" || true
  pkill -F "$work/slurmctld.pid" || true
}
trap stop EXIT
[ -f /etc/munge/munge.key ] || { head -c 1024 /dev/urandom > /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
chown -R munge: /run/munge /etc/munge
pgrep -x munged > /dev/null || runuser -u munge -- munged
slurmctld
slurmd
for _ in $(seq 30); do sinfo -h -t idle | grep -q idle && break; sleep 1; done
sinfo
export VAE_CHECKPOINT_SECONDS=0
small="network.hidden=[16] network.latent_size=4"
own="hydra.launcher.gpus_per_node=0 hydra.launcher.cpus_per_task=1 hydra.launcher.mem_gb=2"

echo "== four cells, two at a time"
make bench VARIANTS=vae,iwae SEEDS=0,1 DATASETS=digits PROFILE=smoke LAUNCHER=slurm RESULTS="$work/results" \
  REPORTS="$work/reports" OVERRIDES="$small $own hydra.launcher.array_parallelism=2"

echo "== one cell that the scheduler takes away in mid-run, and puts back in the queue"
make bench VARIANTS=vae SEEDS=0 DATASETS=digits PROFILE=smoke LAUNCHER=slurm RESULTS="$work/results" \
  REPORTS="$work/reports" OVERRIDES="$small $own training.epochs=600 training.validate_every=600" &
sweep=$!
for _ in $(seq 240); do
  compgen -G "$work/results/runs/*/checkpoint-*.safetensors" > /dev/null && break
  sleep 0.25
done
job=$(squeue -h -t running -o %A | head -1)
echo "requeue job $job after $(basename "$(ls "$work"/results/runs/*/checkpoint-*.safetensors | tail -1)")"
scontrol requeue "$job"
# A requeued job waits two minutes unless it is released.
sleep 3
scontrol update JobId="$job" StartTime=now || true
wait "$sweep"
python3 - "$work/results" <<'PY'
import csv, glob, json, os, sys
for path in sorted(glob.glob(sys.argv[1] + "/runs/*/record.json")):
    record = json.load(open(path))
    with open(os.path.dirname(path) + "/history.csv") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    print(record["run_id"], record["status"], "epochs", len(epochs), "elbo", round(record["metrics"]["elbo"], 4))
PY
