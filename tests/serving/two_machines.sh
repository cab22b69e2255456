# Two machines, each a network namespace with one cable between: SERVER runs on the first, then CLIENT on the other.
# Usage: unshare --user --map-root-user --net bash two_machines.sh SERVER CLIENT
# The server is at 10.77.0.1. It writes a line once it is up, and ends with its input.
set -eu
server=$1 client=$2
ip link set lo up
unshare --net sleep 600 &
other=$!
trap 'kill $other' EXIT
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add here type veth peer name there netns $other
ip addr add 10.77.0.1/24 dev here
ip link set here up
on_other() { nsenter --net --target $other "$@"; }
on_other ip link set lo up
on_other ip addr add 10.77.0.2/24 dev there
on_other ip link set there up
coproc SERVER { eval "$server"; }
read -r _ <&"${SERVER[0]}"
on_other sh -c "$client"
