#!/bin/sh
# A hook of pfxm that has radvd announce the IPv6 prefixes of all interfaces. It writes the
# whole configuration, to RADVD_CONF or else /etc/radvd.conf, and tells the process whose
# number is in RADVD_PID or else /run/radvd.pid, if there is one. Beside the configuration
# it keeps the last prefixes that went: they are announced with lifetimes of 0, so that hosts
# no longer prefer them (RFC 9096).
set -eu
umask 022

case $PFXM_PREFIX in
*:*) ;;
*) exit 0 ;; # IPv4
esac
conf=${RADVD_CONF:-/etc/radvd.conf}
pid=${RADVD_PID:-/run/radvd.pid}
gone=$conf.gone

{
	if [ -e "$gone" ]; then tail -n 15 "$gone"; fi
	case $PFXM_ACTION in
	change) echo "$PFXM_INTERFACE $PFXM_OLD_PREFIX gone" ;;
	remove) echo "$PFXM_INTERFACE $PFXM_PREFIX gone" ;;
	esac
} >"$gone.new"
mv "$gone.new" "$gone"

printf '%s\n' "$PFXM_ALL" | cat - "$gone" | awk '
	$2 !~ /:/ || ($2 in seen) { next }
	{
		seen[$2]
		split($2, part, "/")
		if (!($1 in prefixes)) names[++n] = $1
		lifetimes = $3 == "gone" ? "\t\tAdvPreferredLifetime 0;\n\t\tAdvValidLifetime 0;\n" : ""
		prefixes[$1] = prefixes[$1] "\tprefix " $2 " {\n\t\tAdvAutonomous " (part[2] == 64 ? "on" : "off") ";\n" lifetimes "\t};\n"
	}
	END {
		print "# Written by a hook of pfxm: what is changed here will be lost."
		for (i = 1; i <= n; i++)
			printf "interface %s {\n\tIgnoreIfMissing on;\n\tAdvSendAdvert on;\n%s};\n", names[i], prefixes[names[i]]
	}' >"$conf.new"
if cmp -s "$conf.new" "$conf"; then
	rm "$conf.new"
	exit 0
fi
mv "$conf.new" "$conf"

if [ -s "$pid" ]; then
	kill -HUP "$(cat "$pid")"
fi
