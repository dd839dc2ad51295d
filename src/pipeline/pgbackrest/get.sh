# $name is listed with its bytes in $found and its SHA-1 in $wanted, which archive-get does not look at; how a timeline
# came to be has none.
pgbackrest --config="$here/pgbackrest.conf" --stanza=@stanza@ archive-get "$name" "$to" || die "cannot be had: pgbackrest archive-get ended with $?"
[ "$wanted" != unsummed ] || exit 0
[ "$(wc -c < "$to")" -eq "$found" ] || die "does not have its $found bytes"
echo "$wanted  $to" | sha1sum -c --status - || die 'has other content than what was archived'
