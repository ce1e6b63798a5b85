package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far it is.
type progress interface {
	watch(title string, l *load) (stop func()) // stop is called when l is done
	end()
}

// newProgress is a bar on a terminal, and elsewhere a line for each load that is done.
func newProgress(w io.Writer, duration time.Duration) progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return newBar(f, duration)
	}
	return lines{w}
}

// state is what a load has come to so far.
func (l *load) state(title string) string {
	return fmt.Sprintf("%s: %s committed, %s failed", title, grouped(l.committed.Load()), grouped(l.failed.Load()))
}

type lines struct{ io.Writer }

func (w lines) watch(title string, l *load) func() {
	return func() { fmt.Fprintln(w, l.state(title)) }
}

func (lines) end() {}

type bar struct {
	*progressbar.ProgressBar
	done time.Duration // by the loads before
}

const (
	barUpdate   = 100 * time.Millisecond
	widestState = 75 // so that the bar stays where it is
)

func newBar(w io.Writer, duration time.Duration) *bar {
	return &bar{ProgressBar: progressbar.NewOptions64(duration.Milliseconds(),
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetWidth(20),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionClearOnFinish(),
		// The library's own theme needs a special font.
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}),
	)}
}

func (b *bar) watch(title string, l *load) func() {
	began, quit := time.Now(), make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		ticker := time.NewTicker(barUpdate)
		defer ticker.Stop()
		for {
			b.Describe(fmt.Sprintf("%-*s", widestState, l.state(title)))
			_ = b.Set64((b.done + min(time.Since(began), l.window)).Milliseconds())
			select {
			case <-ticker.C:
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		watcher.Wait()
		b.done += l.window
	}
}

// end makes room for what follows.
func (b *bar) end() { _ = b.Finish() }
