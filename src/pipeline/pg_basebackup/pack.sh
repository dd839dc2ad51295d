# Compresses what the archive holds: sh pack.sh ARCHIVE PACKED
# Prints for each file: name, bytes, SHA-256, compressed bytes, compressed SHA-256.
set -eu
sum() { sha256sum < "$1" | cut -d ' ' -f 1; }
cd -- "$1"
for name in *; do
  [ -f "$name" ] || continue
  gzip -1 -n -c -- "$name" > "$2/$name.gz"
  bytes=$(wc -c < "$name") plain=$(sum "$name") packed=$(wc -c < "$2/$name.gz") gz=$(sum "$2/$name.gz")
  echo "$name" $bytes "$plain" $packed "$gz"
done
