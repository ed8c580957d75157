#!/bin/sh
set -e
case "$1" in
remove | 0) # as deb and rpm say that this is no upgrade
	if [ -d /run/systemd/system ]; then
		systemctl disable --now gdaemon.service
	fi
	;;
esac
