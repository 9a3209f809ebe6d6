#!/usr/bin/env bash
# Shows that a backup can be restored: recovery-drill.sh BACKUP PRIVATE-KEY
#
# Restores it into a scratch directory under a new root key, starts a server on it, backs that up, and compares the two.
# Needs zonekms on the PATH. Touches nothing but its scratch directory, and removes that.
set -euo pipefail

backup=$1
identity=$2
scratch=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap finish EXIT

figure() { # the first number of a line of what zonekms said
    awk -v line="$2" '$1 == line { print $2; exit }' "$1" | tr -d ,
}

zonekms verify-backup "$backup" --identity "$identity" > "$scratch/before"
zone=$(figure "$scratch/before" zone)
echo "verified: $(figure "$scratch/before" keys) keys of zone $zone"

zonekms restore --from "$backup" --identity "$identity" --data-dir "$scratch/lab" --zone "$zone" > "$scratch/restored"
echo "restored under a new root key"

zonekms dev --data-dir "$scratch/lab" --zones "$zone" --listen 127.0.0.1:0 > "$scratch/log" 2>&1 &
server=$!
until [ -e "$scratch/lab/dev.env" ]; do
    kill -0 "$server" || { cat "$scratch/log"; exit 1; }
    sleep 0.1
done
if grep -q 'is damaged' "$scratch/log"; then
    cat "$scratch/log"
    exit 1
fi
echo "served: every material version was opened and checked"

recipient=$(grep -o 'age1[0-9a-z]*' "$identity")
zonekms backup --data-dir "$scratch/lab" --zone "$zone" --to "$scratch/again" --recipient "$recipient" > "$scratch/taken"
zonekms verify-backup "$scratch/again" --identity "$identity" > "$scratch/after"
if [ "$(figure "$scratch/before" keys)" != "$(figure "$scratch/after" keys)" ]; then
    diff "$scratch/before" "$scratch/after" || true
    echo "the restored zone holds other keys than the backup" >&2
    exit 1
fi
echo "the drill succeeded"
