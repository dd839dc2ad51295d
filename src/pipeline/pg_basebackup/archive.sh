# redrill's archive_command: sh archive.sh FROM NAME TO
# Idempotent; on disk before it succeeds; never replaces a file that has other content.
set -eu
from=$1 name=$2 to=$3
if [ -e "$to/$name" ]; then
  cmp -s -- "$from" "$to/$name" || {
    echo "redrill: $name is in the archive already, with other content: it is not overwritten" >&2
    exit 1
  }
else
  trap 'rm -f -- "$to/.$name.part"' EXIT
  dd if="$from" of="$to/.$name.part" bs=1M conv=fsync status=none
  # A link, unlike a rename, never replaces what came there meanwhile.
  ln -- "$to/.$name.part" "$to/$name"
fi
sync "$to/$name" "$to"
