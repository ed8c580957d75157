//go:build !linux

package main

// notifier tells nobody: sd_notify is for Linux.
type notifier struct{}

func newNotifier() *notifier { return new(notifier) }

func (*notifier) ready()        {}
func (*notifier) reloading()    {}
func (*notifier) stopping()     {}
func (*notifier) status(string) {}
func (*notifier) alive()        {}
