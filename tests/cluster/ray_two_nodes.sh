#!/usr/bin/env bash
# Runs a sweep on a Ray cluster of two nodes on one machine. PYTHON is an interpreter with the suite and
# hydra-ray-launcher, in a separate environment, because the plugin requires an older cloudpickle than joblib:
#   PYTHON=.venv-ray/bin/python bash tests/cluster/ray_two_nodes.sh
set -euo pipefail
PYTHON=${PYTHON:?the interpreter that has hydra-ray-launcher}
ray="$PYTHON -m ray.scripts.scripts"
work=$(mktemp -d)
export RAY_DISABLE_IMPORT_WARNING=1 RAY_USAGE_STATS_ENABLED=0
$ray stop --force > /dev/null 2>&1 || true
trap '$ray stop --force > /dev/null 2>&1' EXIT
$ray start --head --port=6399 --num-cpus=1 --include-dashboard=false --object-store-memory=100000000 --disable-usage-stats
$ray start --address=127.0.0.1:6399 --num-cpus=1 --object-store-memory=100000000
for _ in $(seq 30); do
  nodes=$($PYTHON -c "import ray; ray.init(address='auto', log_to_driver=False); print(len([n for n in ray.nodes() if n['Alive']]))" 2> /dev/null)
  [ "$nodes" = 2 ] && break
  sleep 1
done
echo "nodes: $nodes"
$PYTHON -m benchmarks bench --variants vae,iwae --seeds 0,1 --datasets digits --profile smoke --launcher ray_cluster \
  --results "$work/results" --reports "$work/reports" "network.hidden=[16]" network.latent_size=4
$PYTHON - "$work/results" <<'PY'
import glob, json, sys
for path in sorted(glob.glob(sys.argv[1] + "/runs/*/record.json")):
    record = json.load(open(path))
    print(record["run_id"], record["status"], "elbo", round(record["metrics"]["elbo"], 4))
PY
