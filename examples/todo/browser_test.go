package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// browserTimeout is for a machine that has much else to do; what hangs, fails.
const browserTimeout = 5 * time.Minute

// newBrowser starts a Chromium, which ends with the test and leaves nothing behind. Where there is none the test is
// skipped, but not in CI.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	path, profile := findBrowser(t), newProfile(t)
	// Nothing but this machine can be reached from it, and it does not look.
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
		chromedp.Flag("hide-scrollbars", true), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it does not work as root, and shows our own page alone
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), browserTimeout)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	require.NoError(t, chromedp.Do(ctx), "start %s", path)
	t.Cleanup(func() { require.NoError(t, chromedp.Cancel(ctx), "end %s", path) })
	return ctx
}

// newProfile is a folder that goes when the last of the browser's processes has.
func newProfile(t *testing.T) string {
	t.Helper()
	profile, err := os.MkdirTemp("", "todo-chromium-") //nolint:usetesting // t.TempDir does not wait for the processes
	require.NoError(t, err)
	t.Cleanup(func() {
		gone := func() bool { return !inUse(profile) && os.RemoveAll(profile) == nil }
		require.Eventually(t, gone, time.Minute, 20*time.Millisecond, "a process of the browser's is left")
	})
	return profile
}

// inUse reports whether a process has been given the profile. Where there is no /proc it can't tell.
func inUse(profile string) bool {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the only error is a bad pattern
	return slices.ContainsFunc(commands, func(name string) bool {
		line, err := os.ReadFile(name)
		return err == nil && strings.Contains(string(line), profile)
	})
}

// findBrowser looks where tools/install-chromium does.
func findBrowser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const reason = "there is no Chromium: run tools/install-chromium, or name one with CHROMIUM"
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

// tab is one of a browser's tabs.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newVisitor is a tab that shares nothing with others, as if it were somebody else's browser.
func newVisitor(t *testing.T, browser context.Context) tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(closeTab)
	b := tab{t, ctx}
	b.do(chromedp.EmulateViewport(desktop[0], desktop[1]))
	return b
}

func (b tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// follow does what makes the tab load a page, and waits for it.
func (b tab) follow(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, actions...)
	require.NoError(b.t, err)
}

func (b tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// text is what a reader sees of an element.
func (b tab) text(selector string) string {
	b.t.Helper()
	return get(b, chromedp.Text(chromedp.CSS(selector)))
}

func get[T any](b tab, what chromedp.Action[T]) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, what)
	require.NoError(b.t, err)
	return got
}

// value evaluates JavaScript, which the page itself has none of.
func value[T any](b tab, expression string) T {
	b.t.Helper()
	return get(b, chromedp.Evaluate[T](expression))
}

// focus waits until the element that the selector names has the focus. A page gives it with its first frame, which may
// come after the page has been loaded.
func (b tab) focus(selector string) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, chromedp.Poll[chromedp.Void](fmt.Sprintf("document.activeElement.matches(%q)", selector)))
	require.NoError(b.t, err, "the focus must come to %s", selector)
}

// keys are pressed one after the other, as on a keyboard.
func (b tab) keys(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

// Widths and heights.
var (
	desktop = [2]int64{1024, 720}
	phone   = [2]int64{360, 740}
)

func (b tab) resize(to [2]int64) { b.t.Helper(); b.do(chromedp.EmulateViewport(to[0], to[1])) }

// scheme is light or dark.
func (b tab) scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
	require.NoError(b.t, err)
}

// shoot keeps a picture of the page among the test's artifacts (go test -artifacts).
func (b tab) shoot(name string) {
	b.t.Helper()
	picture := get(b, chromedp.CaptureScreenshot())
	require.NoError(b.t, os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), picture, 0o644))
}
