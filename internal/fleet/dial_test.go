package fleet

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDial_TwoHundredLostAtOnce_DeadHostIsDialledABoundedNumberOfTimes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(600)
		clear(s.dialled)
		s.set(dead, three[0])
		p.loseHost(three[0])
		p.settle()
		assert.Zero(t, s.dials(three[0]), "nobody tries it while others are healthy")
		assert.NotContains(t, p.byHost(), three[0])
	})
}

func TestDial_TwoHundredLostAtOnce_OnlyHostDead_ProbesArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three[0])
		p := s.pool(200)
		clear(s.dialled)
		s.set(dead, three[0])
		p.loseHost(three[0])
		time.Sleep(30 * time.Second)
		assert.LessOrEqual(t, s.dials(three[0]), 50, "one a second, and some at first")
		assert.GreaterOrEqual(t, s.dials(three[0]), 25, "and it is tried all the time")

		s.set(up, three[0])
		p.settle()
		assert.Equal(t, map[string]int{three[0]: 200}, p.byHost())
		assert.Equal(t, Healthy, s.state(three[0]))
	})
}

func TestDial_TwoHundredLostAtOnce_HostSilent_OneDialAtATime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(200)
		clear(s.dialled)
		s.set(silent)
		p.lose(func(*session) bool { return true })
		time.Sleep(30 * time.Second)
		for _, h := range three {
			assert.LessOrEqual(t, s.dials(h), 30/5+1, "one in each connect timeout")
			assert.GreaterOrEqual(t, s.dials(h), 1, "none is left out")
			s.set(up, h)
		}
		p.settle()
	})
}

func TestDial_AllInDoubt_GetThroughAsSoonAsOneIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(30)
		s.set(dead)
		p.lose(func(*session) bool { return true })
		time.Sleep(20 * time.Second)
		s.set(up, three[1])
		time.Sleep(3 * longestGap)
		synctest.Wait()
		assert.Equal(t, map[string]int{three[1]: 30}, p.byHost())
		p.settle()
	})
}

func TestDial_DueHost_OneProbesAndOthersGoElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		time.Sleep(2 * believed)

		probe, skip, err := f.Dial(t.Context(), "a", false)
		require.NoError(t, err)
		require.False(t, skip)
		assert.Equal(t, Probing, f.Snapshot().Hosts[0].State)
		none, skip, err := f.Dial(t.Context(), "a", false)
		assert.Nil(t, none)
		assert.True(t, skip)
		assert.ErrorContains(t, err, "a is in doubt, and another connection is trying it")

		probe.Opened(0).Closed()
		after, skip, err := f.Dial(t.Context(), "a", false)
		require.NoError(t, err)
		assert.False(t, skip)
		after.Cancelled()
		assert.Equal(t, Healthy, f.Snapshot().Hosts[0].State)
		checkCounts(t, f)
	})
}

func TestDial_ProbeIsGivenUp_HostStaysInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		time.Sleep(2 * believed)
		probe, _, err := f.Dial(t.Context(), "a", false)
		require.NoError(t, err)
		probe.Cancelled()
		assert.Equal(t, Doubted, f.Snapshot().Hosts[0].State, "else each new connection would run into a silent host first")
	})
}

func TestDial_BegunBeforeTheDoubt_DoesNotEndTheProbe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		begun := make([]*Dial, 2)
		for i := range begun {
			begun[i], _, _ = f.Dial(t.Context(), "a", true)
		}
		failOnce(t, f, "a")
		probe, _, err := f.Dial(t.Context(), "a", true)
		require.NoError(t, err)
		begun[0].Cancelled()
		assert.Equal(t, Probing, f.Snapshot().Hosts[0].State)
		begun[1].Failed(Unreachable, nil)
		assert.Equal(t, Probing, f.Snapshot().Hosts[0].State)
		probe.Cancelled()
		assert.Equal(t, Doubted, f.Snapshot().Hosts[0].State)
	})
}

func TestDial_HostHasJustFailed_OthersGoElsewhereAndHearWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		_, skip, err := f.Dial(t.Context(), "a", false)
		assert.True(t, skip)
		assert.ErrorIs(t, err, errDead)
	})
}

// waiters has n goroutines wait to dial the last host of their plans, and returns the dials and the errors that they
// come to.
func waiters(ctx context.Context, f *Fleet, host string, n int) (chan *Dial, chan error) {
	dials, skips := make(chan *Dial, n), make(chan error, n)
	for range n {
		go func() {
			d, _, err := f.Dial(ctx, host, true)
			if d != nil {
				dials <- d
				return
			}
			skips <- err
		}()
	}
	synctest.Wait()
	return dials, skips
}

func TestDial_LastHost_WaitsForTheProbe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		dials, skips := waiters(t.Context(), f, "a", 10)
		time.Sleep(time.Second)
		require.Len(t, dials, 1)
		require.Empty(t, skips)

		(<-dials).Opened(0).Closed()
		synctest.Wait()
		assert.Len(t, dials, 9, "all may dial, the host is healthy")
		for range 9 {
			(<-dials).Cancelled()
		}
	})
}

func TestDial_LastHost_ProbeFails_TheOthersHearWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		dials, skips := waiters(t.Context(), f, "a", 10)
		time.Sleep(time.Second)
		cause := errors.New("the second failure")
		(<-dials).Failed(Refused, cause)
		synctest.Wait()
		require.Len(t, skips, 9)
		for range 9 {
			assert.ErrorIs(t, <-skips, cause)
		}
		assert.EqualValues(t, 9, f.Snapshot().Dials.Skipped)
		checkCounts(t, f)
	})
}

func TestDial_LastHost_ProbeIsGivenUp_AnotherTakesItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		failOnce(t, f, "a")
		dials, skips := waiters(t.Context(), f, "a", 10)
		time.Sleep(time.Second)
		for range 10 {
			synctest.Wait()
			require.Len(t, dials, 1)
			(<-dials).Cancelled()
		}
		assert.Empty(t, skips)
	})
}

func TestDial_RejectedLogin_SaysThatTheHostIsWell(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		s.set(rejects, three[0])
		_, err := s.connect(t.Context(), "")
		require.NoError(t, err)
		assert.Equal(t, Healthy, s.state(three[0]))
		assert.EqualValues(t, 1, s.fleet.Snapshot().Dials.Rejected)
	})
}

func TestDial_ContextEnds_WhileWaiting(t *testing.T) {
	cases := map[string]func(t *testing.T, f *Fleet){
		"for a probe": func(t *testing.T, f *Fleet) {
			failOnce(t, f, "a")
			time.Sleep(time.Second)
			_, _, err := f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
		},
		"for the next probe": func(t *testing.T, f *Fleet) {
			failOnce(t, f, "a")
		},
		"for the budget": func(t *testing.T, f *Fleet) {
			d, _, err := f.Dial(t.Context(), "b", true)
			require.NoError(t, err)
			d.Cancelled()
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := New(Config{DialRate: 1})
				prepare(t, f)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				began := time.Now()
				d, skip, err := f.Dial(ctx, "a", true)
				assert.Nil(t, d)
				assert.False(t, skip)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Equal(t, 10*time.Millisecond, time.Since(began))
				checkCounts(t, f)
			})
		})
	}
}

func TestDial_ContextIsDone_NothingIsDialled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := New(Config{})
	d, skip, err := f.Dial(ctx, "a", true)
	assert.Nil(t, d)
	assert.False(t, skip)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, f.Snapshot().Hosts)
}

func TestDial_Budget_HoldsOverAllHosts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{DialRate: 20})
		var begun atomic.Int64
		for i := range 200 {
			go func() {
				d, _, err := f.Dial(t.Context(), three[i%3], true)
				assert.NoError(t, err)
				begun.Add(1)
				d.Opened(0).Closed()
			}()
		}
		synctest.Wait()
		assert.EqualValues(t, 20, begun.Load(), "a burst")
		for second := range 9 {
			time.Sleep(time.Second)
			synctest.Wait()
			assert.EqualValues(t, 40+20*second, begun.Load())
		}
	})
}

// A pool that closes what is idle, and makes it anew, is not held up. One that has lost its connections is.
func TestDial_Budget_ConnectionsClosedWhileWellCostNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		close  func(*Member)
		atOnce int64
	}{
		"closed while well": {(*Member).ClosedWell, 1000},
		"closed":            {(*Member).Closed, 20},
		"lost, then closed": {func(m *Member) { m.Lost(); m.ClosedWell() }, 20},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := New(Config{DialRate: 20})
				var begun int64
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				for range 1000 {
					d, _, err := f.Dial(ctx, "a", true)
					if err != nil {
						break
					}
					begun++
					tc.close(d.Opened(0))
				}
				assert.Equal(t, tc.atOnce, begun)
			})
		})
	}
}

func TestDial_Budget_GivenUpDialsCostNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{DialRate: 1})
		first, _, _ := f.Dial(t.Context(), "a", true)
		first.Cancelled()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		for range 100 {
			_, _, err := f.Dial(ctx, "a", true)
			require.Error(t, err)
		}
		began := time.Now()
		d, _, err := f.Dial(t.Context(), "a", true)
		require.NoError(t, err)
		d.Cancelled()
		assert.LessOrEqual(t, time.Since(began), time.Second)
	})
}

func TestDial_Budget_HostDiesMeanwhile_ThoseInLineDoNotDialIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{DialRate: 10})
		var dialled atomic.Int64
		for range 100 {
			go func() {
				d, skip, err := f.Dial(t.Context(), "a", false)
				if skip {
					return
				}
				assert.NoError(t, err)
				dialled.Add(1)
				time.Sleep(loginTakes)
				d.Failed(Unreachable, errDead)
			}()
		}
		time.Sleep(2 * believed)
		synctest.Wait()
		assert.LessOrEqual(t, dialled.Load(), int64(10+20), "the burst and some probes, not the other ninety")
		checkCounts(t, f)
	})
}

func TestDial_Budget_SkippedDialsCostNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{DialRate: 1})
		first, _, _ := f.Dial(t.Context(), "a", false)
		go func() {
			time.Sleep(time.Second - time.Millisecond)
			first.Failed(Unreachable, errDead)
		}()
		_, skip, err := f.Dial(t.Context(), "a", false)
		require.True(t, skip, err)
		began := time.Now()
		d, _, err := f.Dial(t.Context(), "b", false)
		require.NoError(t, err)
		d.Cancelled()
		assert.Zero(t, time.Since(began), "the budget that was waited for is there")
	})
}

func TestDial_ManyFailAtOnce_TheFirstProbeFollowsSoon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		var begun []*Dial
		for range 50 {
			d, _, err := f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
			begun = append(begun, d)
		}
		for _, d := range begun {
			d.Failed(Unreachable, errDead)
		}
		began := time.Now()
		d, _, err := f.Dial(t.Context(), "a", true)
		require.NoError(t, err)
		d.Cancelled()
		assert.Less(t, time.Since(began), 2*firstGap)
	})
}

func TestDial_GivenUp_SaysNothingOfTheHost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		for range 100 {
			d, _, err := f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
			time.Sleep(5 * time.Millisecond)
			d.Cancelled()
		}
		assert.Equal(t, Healthy, f.Snapshot().Hosts[0].State)
	})
}

func TestDial_GivenUpWithLoginsInBetween_HostIsHealthy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		for range 10 {
			d, _, err := f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
			time.Sleep(silence * 6 / 10)
			d.Cancelled()
			assert.Equal(t, Healthy, f.Snapshot().Hosts[0].State)
			d, _, err = f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
			d.Opened(0).Closed()
		}
	})
}

func TestDial_GivenUpAgainAndAgainWithoutAnAnswer_HostIsInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{Balance: true}, three...)
		p := s.pool(2)
		s.set(silent, s.fleet.Plan(three, "")[0]) // the one without a connection is first in every plan
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
			_, err := s.connect(ctx, "")
			require.Error(t, err)
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		made, err := s.connect(ctx, "")
		require.NoError(t, err, "callers with little time must not all run into it")
		assert.Contains(t, p.byHost(), made.host)
	})
}

func TestDial_SettledTwice_TheFirstCounts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		d, _, err := f.Dial(t.Context(), "a", true)
		require.NoError(t, err)
		m := d.Opened(7)
		require.NotNil(t, m)
		d.Cancelled()
		d.Failed(Refused, errDead)
		assert.Nil(t, d.Opened(7))
		snap := f.Snapshot()
		assert.Equal(t, Dials{Opened: 1}, snap.Dials)
		assert.Equal(t, []HostSnapshot{{Name: "a", Open: 1}}, snap.Hosts)
		assert.Equal(t, map[uint32]int{7: 1}, snap.Nodes)
	})
}

func TestDial_LongAbsence_IsBelievedLonger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := New(Config{})
		for _, c := range []struct{ more, believed time.Duration }{
			{0, believed}, {time.Minute, believed}, {4 * time.Minute, 15 * time.Second}, {time.Hour, longest},
		} {
			time.Sleep(c.more)
			d, _, err := f.Dial(t.Context(), "a", true)
			require.NoError(t, err)
			d.Failed(Unreachable, nil)
			h := f.hosts["a"]
			assert.InDelta(t, c.believed.Seconds(), (h.until - f.now()).Seconds(), 0.3*c.believed.Seconds(), c.more)
		}
	})
}

func failOnce(t *testing.T, f *Fleet, host string) {
	d, _, err := f.Dial(t.Context(), host, true)
	require.NoError(t, err)
	d.Failed(Unreachable, errDead)
}
