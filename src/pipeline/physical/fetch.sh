# redrill's restore_command: sh fetch.sh NAME TO HERE
# Ends with 10 when the archive does not have NAME, with 0 when TO is whole, and with another code otherwise.
set -u
name=$1 to=$2 here=$3
die() {
  echo "redrill: $name $1" >&2
  exit 20
}
found='' last=''
while read -r entry bytes sum; do
  if [ "$entry" = "$name" ]; then found=$bytes wanted=$sum; fi
  last=$entry
done < "$here/listing" || die 'is not known: the list of what the archive holds cannot be read'
[ "$last" = end ] || die 'is not known: the list of what the archive holds was cut'
[ -n "$found" ] || exit 10
[ "$found" != - ] || die "is needed, but $wanted"
