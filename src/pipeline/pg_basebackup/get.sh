# $name is listed with its bytes in $found and its SHA-256 in $wanted.
gzip -dc -- "$here/$name.gz" > "$to" || die 'cannot be read'
[ "$(wc -c < "$to")" -eq "$found" ] || die "does not have its $found bytes"
echo "$wanted  $to" | sha256sum -c --status - || die 'has other content than what was archived'
