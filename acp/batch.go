package acp

// BatchSender is an [Endpoint] that sends several multicasts for less than they cost one by
// one. A relay sends those together that came together.
type BatchSender interface {
	// SendBatch multicasts messages, in their order, as calls of Send would, and sets the
	// Err of each to what Send would have returned. It does not wait for anybody.
	SendBatch(all []Multicast)
	// Waiting reports whether the endpoint has read several datagrams at once, and the next
	// call of Receive returns another one of them.
	Waiting() bool
}

// Multicast is a message to be sent on a link.
type Multicast struct {
	Link int
	Msg  []byte
	Err  error // why it was not sent
}

// SendBatch sends messages by the endpoint's own SendBatch, or one by one if it has none.
func SendBatch(e Endpoint, all []Multicast) {
	if s, ok := e.(BatchSender); ok {
		s.SendBatch(all)
		return
	}
	for i := range all {
		m := &all[i]
		m.Err = e.Send(m.Link, m.Msg)
	}
}

// Waiting returns what the endpoint's own Waiting returns, and false if it has none.
func Waiting(e Endpoint) bool {
	s, ok := e.(BatchSender)
	return ok && s.Waiting()
}
