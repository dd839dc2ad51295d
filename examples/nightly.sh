#!/bin/sh
# Drills the suites that SUITES names (all when it names none) and every planted fault, signs what it found, and keeps the
# runbook beside the reports.
# The key is made once: openssl genpkey -algorithm ed25519 -out key.pem
set -u
export REDRILL_SIGN="${KEY:-key.pem}"
worst=0
# A backup that did not hold up (1) is the worst that can come of it; else what went wrong first is told.
note() {
  status=$?
  if [ "$worst" -eq 0 ] || [ "$status" -eq 1 ]; then worst=$status; fi
}
redrill drill ${SUITES:-} --services local || note
redrill drill detection --services local || note
redrill runbook deltacrown --to reports/runbook.md || note
redrill history --last 30
exit "$worst"
