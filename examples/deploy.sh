#!/bin/sh
# Deploys only what fresh, passing evidence stands behind. SUITE names the suite, DEPLOY is the command that deploys.
#
# The gate's exit code is the script's: 5 is a closed gate, anything else but 0 a mistake, and neither deploys.
set -eu
redrill gate "${SUITE:-deltacrown}"
${DEPLOY:-echo deploy here}
