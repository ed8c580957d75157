package acp

// SendBatch implements [BatchSender].
func (e *layer2Endpoint) SendBatch(all []Multicast) {
	for len(all) > 0 {
		n := e.sendFirst(all)
		for i := range n {
			all[i].Err = nil
		}
		if n == 0 {
			n, all[0].Err = 1, e.Send(all[0].Link, all[0].Msg)
		}
		all = all[n:]
	}
}

// Waiting implements [BatchSender]: it knows of the datagrams that were read at once.
func (e *layer2Endpoint) Waiting() bool { return e.hearing.waiting.Load() }
