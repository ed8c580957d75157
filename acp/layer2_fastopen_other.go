//go:build !linux

package acp

// fastOpenWorks says that the system has TCP Fast Open, of a kind that is used here.
const fastOpenWorks = false

type fastOpen struct{}

func newFastOpen() *fastOpen   { return nil }
func fastOpenRefused() []error { return nil }

// fastEndpoint is an endpoint with TCP Fast Open.
type fastEndpoint struct{ *layer2Endpoint }
