package handler

import "sync"

// entry is what becomes of one event, for the [Recorder]. The answer to an event can come
// before the event, when that takes too long to read.
type entry struct {
	recorder Recorder

	mu    sync.Mutex // guards what follows
	what  ExecOutcome
	added bool
	at    int // in the Recorder, once added
}

// begin prepares it: ended, if nobody says anything else before the run is over.
func (n *entry) begin(r Recorder) { n.recorder, n.what = r, ExecEnded }

// add makes the record.
func (n *entry) add(ev *ExecEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at, n.added = n.recorder.Add(ev, n.what), true
}

// settle says what has become of the event, and reports whether there is one.
func (n *entry) settle(what ExecOutcome) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.what = what
	if n.added {
		n.recorder.Settle(n.at, what)
	}
	return n.added
}
