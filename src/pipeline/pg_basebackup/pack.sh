# Compresses what the archive holds, on every processor: sh pack.sh ARCHIVE PACKED
# Prints for each file, in no order: name, bytes, SHA-256, compressed bytes, compressed SHA-256.
set -eu
one='
sum() { sha256sum < "$1" | cut -d " " -f 1; }
gzip -1 -n -c -- "$2" > "$1/$2.gz"
bytes=$(wc -c < "$2") plain=$(sum "$2") packed=$(wc -c < "$1/$2.gz") gz=$(sum "$1/$2.gz")
echo "$2" $bytes "$plain" $packed "$gz"
'
cd -- "$1"
for name in *; do
  if [ -f "$name" ]; then printf "%s\0" "$name"; fi
done | xargs -0 -r -n 1 -P "$(getconf _NPROCESSORS_ONLN)" sh -euc "$one" pack.sh "$2"
