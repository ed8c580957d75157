//go:build !linux

package acp

// sendTogether sends messages one by one.
func (e *layer2Endpoint) sendTogether(all []Multicast) {
	for i := range all {
		m := &all[i]
		m.Err = e.Send(m.Link, m.Msg)
	}
}

func (*family) askSegments() {}
