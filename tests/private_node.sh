# A node of a Ray cluster that shares no file with others: run in namespaces of its own for mounts and processes.
# Usage: private_node.sh NAME CPUS PORT [COMMAND...]. The head runs the command and ends; others end with their input.
# Then each says what it sees and what it keeps.
set -eu
name=$1 cpus=$2 port=$3
shift 3
mount --make-rprivate /
for folder in /mnt /dev/shm; do mount -t tmpfs tmpfs "$folder"; done
# Temporary files too, unless the code itself stands below them.
case $PWD in /tmp/*) ;; *) mount -t tmpfs tmpfs /tmp ;; esac
[ ! -d runs ] || mount -t tmpfs tmpfs runs
mkdir -p /mnt/home /mnt/tmp
export HOME=/mnt/home TMPDIR=/mnt/tmp
unset ESHOP_RAY_CACHE
touch "/mnt/of-$name"
options="--num-cpus=$cpus --disable-usage-stats --dashboard-agent-listen-port=0"
if [ $# -gt 0 ]; then
  ray start --head --port="$port" --include-dashboard=false --temp-dir=/mnt/ray $options >/dev/null
  RAY_ADDRESS="127.0.0.1:$port" "$@"
else
  ray start --address="127.0.0.1:$port" $options >/dev/null
  while read -r _; do :; done # until the test closes it
fi
echo "$name sees" /mnt/of-*
cd "$HOME/.cache/eshop_ray" 2>/dev/null && find . -maxdepth 3 -not -path "*/.*"
