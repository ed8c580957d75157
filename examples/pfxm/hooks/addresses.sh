#!/bin/sh
# A hook of pfxm that gives each interface the first address of its prefix, with ip of
# iproute2.
set -eu

case $PFXM_ACTION in
add | change) ip address replace "$PFXM_ADDRESS" dev "$PFXM_INTERFACE" ;;
esac
case $PFXM_ACTION in
change) gone=$PFXM_OLD_ADDRESS ;;
remove) gone=$PFXM_ADDRESS ;;
*) exit 0 ;;
esac
# The address may be gone already, and so may the interface.
if ip -oneline address show dev "$PFXM_INTERFACE" 2>/dev/null | grep -qF " $gone "; then
	ip address delete "$gone" dev "$PFXM_INTERFACE"
fi
