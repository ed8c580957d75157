package acp

// SendBatch implements [BatchSender].
func (e *layer2Endpoint) SendBatch(all []Multicast) {
	for len(all) > 0 {
		n := min(len(all), maxBatch)
		e.sendTogether(all[:n])
		all = all[n:]
	}
}

// Waiting implements [BatchSender]: it knows of the datagrams that were read at once.
func (e *layer2Endpoint) Waiting() bool { return e.hearing.waiting.Load() }
