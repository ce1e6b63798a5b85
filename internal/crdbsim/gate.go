package crdbsim

import "sync/atomic"

// A gate holds up who comes to it while it is shut.
type gate struct {
	shut atomic.Pointer[chan struct{}] // closed when the gate opens; nil while it is open
}

// set shuts the gate or opens it. It must not be called twice at once.
func (g *gate) set(shut bool) {
	old := g.shut.Load()
	switch {
	case shut && old == nil:
		opens := make(chan struct{})
		g.shut.Store(&opens)
	case !shut && old != nil:
		g.shut.Store(nil)
		close(*old)
	}
}

// pass returns when the gate is open, or one of the others is closed.
func (g *gate) pass(other, another <-chan struct{}) {
	opens := g.shut.Load()
	if opens == nil {
		return
	}
	select {
	case <-*opens:
	case <-other:
	case <-another:
	}
}
