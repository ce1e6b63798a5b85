// Package processor tells how much processor time processes have used.
package processor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Own is what this process has used, the system's time on its behalf included.
func Own() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only a wrong argument fails
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Of is what the first thread of another process has used: all of it, for a process of PostgreSQL's. Linux only.
func Of(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, err
	}
	ran, _, _ := bytes.Cut(stat, []byte(" "))
	ns, err := strconv.ParseInt(string(ran), 10, 64)
	return time.Duration(ns), err
}
