#!/usr/bin/env bash
# Run a command beside a throw-away SLURM cluster: two nodes and a controller on this machine.
#
#   tests/slurm/cluster.sh COMMAND [ARGUMENT...]
#
# Everything lives in namespaces of its own (processes, mounts, network): nothing outside sees the cluster, and when the
# command ends the kernel ends all that it left. So several can run at once, beside a real cluster's node too.
# Partitions: cpu, and urgent on the same nodes, whose jobs preempt those of cpu. No accounting, no cgroups; memory is
# watched by polling. Needs root, and on Debian: slurmctld slurmd slurm-client munge iproute2. Exit status 77: not here.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    [ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
    missing=()
    for tool in munged slurmctld slurmd sbatch unshare ip; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} -eq 0 ] || { echo "no SLURM here: ${missing[*]} not installed" >&2; exit 77; }
    unshare --mount --pid --net --fork true 2>/dev/null || { echo "no SLURM here: namespaces need root" >&2; exit 77; }
    exec unshare --mount --pid --net --fork --mount-proc --kill-child bash "$0" --inside "$@"
fi
shift

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
host=$(hostname -s)
memory=65536 # as nodes have it, whatever this machine has: a job that was killed asks for more
ip link set lo up
ip address add 192.0.2.1/32 dev lo # SLURM opens no socket where there are loopback addresses alone
mkdir -p /run/slurm "$home"/{etc,log,state,node1,node2}
mount -t tmpfs slurm /run/slurm
ln -s "$home/etc" /run/slurm/conf # where SLURM's programs look inside a job, which has no SLURM_CONF
chmod 755 "$home"

cat >"$home/etc/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=6817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,preempt_youngest_first
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
KillWait=${SLURM_TEST_KILL_WAIT:-20}
MinJobAge=600
OverTimeLimit=0
ReturnToService=0
SlurmdParameters=config_overrides
StateSaveLocation=$home/state
SlurmctldPidFile=$home/slurmctld.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdPidFile=$home/%n.pid
SlurmdLogFile=$home/log/%n.log
SlurmdSpoolDir=$home/%n
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=6821 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=6822 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=15
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
CONF
printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$home/etc/cgroup.conf"
head -c 128 /dev/urandom >"$home/munge.key"
chmod 400 "$home/munge.key"

export SLURM_CONF=$home/etc/slurm.conf SLURM_TEST_HOME=$home
munged --force --socket="$home/munge.socket" --key-file="$home/munge.key" --pid-file="$home/munged.pid" \
    --log-file="$home/log/munged.log" --seed-file="$home/munge.seed" --num-threads=2 2>/dev/null
slurmctld -c
for node in node1 node2; do slurmd -N "$node"; done
for _ in $(seq 150); do
    [ "$(sinfo --noheader --Node --partition cpu --format=%t 2>/dev/null | grep -c idle)" = 2 ] && break
    sleep 0.2
done
sinfo --noheader --partition cpu --format=%t | grep -q idle || { tail -n 20 "$home"/log/*.log >&2; exit 1; }
"$@"
