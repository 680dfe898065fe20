#!/usr/bin/env bash
# Run pytest; if a few tests failed, run these once more, alone, and say so loudly.
#
#   scripts/second_look.sh PYTHON -m pytest …
#
# For CI, where thousands of tests kill real servers beside one another on a machine of
# which nothing is known. A fault fails both looks. What fails only the first is a flaky
# test or a rare fault: it does not stop a change that has nothing to do with it, but it
# is named at the end of the run, and is a bug to be found.
#
# SECOND_LOOKS   a file to which the names of such tests are added
set -uo pipefail
most=6

cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT

"$@" -o cache_dir="$cache"
code=$?
failed=$cache/v/cache/lastfailed
# 1 is "tests failed"; all other codes are about the run itself.
if [ $code != 1 ] || [ ! -e "$failed" ]; then exit $code; fi
mapfile -t names < <("$1" -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' "$failed")
if [ ${#names[@]} -gt $most ]; then
    echo "=== ${#names[@]} tests failed: too many for a second look."
    exit $code
fi

printf '\n=== A second look, alone, at %d that failed:\n' ${#names[@]}
printf '    %s\n' "${names[@]}"
"$@" -o cache_dir="$cache" -n 0 --dist no --last-failed --last-failed-no-failures none \
    --junitxml="$cache/second.xml"
code=$?
# What is skipped because another test did not run before it, has shown nothing.
if [ $code = 0 ] && grep -q '<skipped' "$cache/second.xml"; then
    echo "=== Skipped at the second look: that is no pass."
    exit 1
fi
if [ $code = 0 ]; then
    printf '\n=== FLAKY, passed only at the second look: %s\n' "${names[@]}"
    [ -z "${SECOND_LOOKS:-}" ] || printf '%s\n' "${names[@]}" >>"$SECOND_LOOKS"
fi
exit $code
