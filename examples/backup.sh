#!/bin/sh
# A shell script with a run of its own: one line into the agent's socket for each event. Needs socat.
#   LOGAGENT_SOCKET=/run/logagent.sock sh backup.sh DIRECTORY
set -eu
from=${1:-.}
socket=${LOGAGENT_SOCKET:-.logagent/logagent.sock}
run="backup_$(date -u +%Y%m%d_%H%M%S)_$$"

# say LEVEL MESSAGE [MORE]: MORE is further JSON, such as ',"files":3'. The message must need no escapes.
say() {
    printf '{"level":"%s","message":"%s","script":"backup","run_id":"%s"%s}\n' "$1" "$2" "$run" "${3-}" | socat -u - "UNIX-CONNECT:$socket"
}

say INFO "backup started" ',"event":"run_start","metadata":{"tool":"tar"}'
if tar -C "$from" -cf /dev/null . 2>/dev/null; then
    files=$(find "$from" -type f | wc -l)
    say INFO "$files files saved" ",\"response\":{\"files\":$files}"
    say SUCCESS "backup done" ',"event":"run_end","status":"success"'
else
    say ERROR "backup failed" ',"event":"run_end","status":"failed","error":"tar failed"'
    exit 1
fi
