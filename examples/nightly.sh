#!/bin/sh
# Drills the suites that SUITES names (all when it names none) and every planted fault, keeps the runbook beside the
# reports, and signs what it found.
# The key is made once: openssl genpkey -algorithm ed25519 -out key.pem
set -u
worst=0
redrill drill ${SUITES:-} --services local --sign "${KEY:-key.pem}" || worst=$?
redrill drill detection --services local || worst=$?
redrill runbook deltacrown --to reports/runbook.md || worst=$?
redrill history --last 30
exit "$worst"
