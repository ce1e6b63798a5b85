package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"
)

// A progressing shows how far a run is: on a terminal by a bar, elsewhere by a line for each event.
type progressing struct {
	w      io.Writer
	driver string
	tally  *tally
	lasts  time.Duration

	bar     progress.Writer // nil elsewhere
	tracker *progress.Tracker
	done    chan struct{}
	showing sync.WaitGroup
}

func newProgress(w io.Writer, driver string, lasts time.Duration, t *tally) *progressing {
	p := &progressing{w: w, driver: driver, tally: t, lasts: lasts, done: make(chan struct{})}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.startBar(f)
	}
	return p
}

func (p *progressing) startBar(f *os.File) {
	p.bar = progress.NewWriter()
	p.bar.SetOutputWriter(f)
	p.bar.SetUpdateFrequency(200 * time.Millisecond)
	p.bar.Style().Visibility.Value = false
	p.bar.Style().Visibility.ETA = true
	p.tracker = &progress.Tracker{Message: p.driver, Total: int64(p.lasts)}
	p.bar.AppendTracker(p.tracker)
	p.showing.Go(p.bar.Render)
	p.showing.Go(p.follow)
}

func (p *progressing) follow() {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.tracker.UpdateMessage(p.state())
			p.tracker.SetValue(min(int64(time.Since(p.tally.began)), int64(p.lasts)))
		case <-p.done:
			p.tracker.MarkAsDone()
			p.bar.Stop()
			return
		}
	}
}

func (p *progressing) state() string {
	committed, failed, ambiguous := p.tally.now()
	return fmt.Sprintf("%s: %d committed, %d errors, %d ambiguous", p.driver, committed, failed, ambiguous)
}

// say tells an event.
func (p *progressing) say(format string, args ...any) {
	line := fmt.Sprintf("%6.1fs  %s", time.Since(p.tally.began).Seconds(), fmt.Sprintf(format, args...))
	if p.bar != nil {
		p.bar.Log("%s", line)
		return
	}
	fmt.Fprintf(p.w, "%s; %s\n", line, p.state())
}

func (p *progressing) stop() {
	close(p.done)
	p.showing.Wait()
}
