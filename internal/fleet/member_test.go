package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestMember_Lost_PutsTheHostInDoubtForSomeSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		p := s.pool(2)
		p.sessions[0].Lost()
		assert.Equal(t, Doubted, s.state(three[0]))
		time.Sleep(believed / 2)
		assert.Equal(t, Doubted, s.state(three[0]))
		time.Sleep(believed)
		assert.Equal(t, Due, s.state(three[0]))
		s.mustConnect("")
		assert.Equal(t, Healthy, s.state(three[0]))
	})
}

func TestMember_ClosedAndLost_CountOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		p := s.pool(2)
		p.sessions[0].Closed()
		p.sessions[0].Closed()
		p.sessions[0].Lost()
		assert.Equal(t, Healthy, s.state(three[0]), "what is closed can't be lost")
		p.sessions[1].Lost()
		p.sessions[1].Closed()
		p.sessions[1].Lost()
		snap := s.fleet.Snapshot()
		assert.EqualValues(t, 2, snap.Closed)
		assert.EqualValues(t, 1, snap.Lost)
		assert.Zero(t, snap.Hosts[0].Open)
		assert.False(t, p.sessions[1].Retire(time.Now()))
	})
}

func TestMember_LostAfterTheHostIsBack_OldConnectionsAreOldNews(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSim(t, Config{}, three...)
		p := s.pool(4)
		p.sessions[0].Lost()
		time.Sleep(2 * believed)
		back := s.mustConnect("")
		time.Sleep(time.Second)

		p.sessions[1].Lost()
		assert.Equal(t, Healthy, s.state(three[0]), "it broke when the first did, and was only found now")
		time.Sleep(2 * newsAfter)
		p.sessions[2].Lost()
		assert.Equal(t, Doubted, s.state(three[0]), "the login was long ago")

		time.Sleep(2 * believed)
		s.mustConnect("")
		back.Lost()
		assert.Equal(t, Healthy, s.state(three[0]))
		s.mustConnect("").Lost()
		assert.Equal(t, Doubted, s.state(three[0]), "a connection opened since then is news")
	})
}

func TestMember_NilsAreHarmless(t *testing.T) {
	t.Parallel()
	var f *Fleet
	assert.Equal(t, three, f.Plan(three, three[0]))
	d, skip, err := f.Dial(t.Context(), three[0], true)
	assert.NoError(t, err)
	assert.False(t, skip)
	d.Failed(Refused, errDead)
	d.Cancelled()
	m := d.Opened(1)
	assert.Nil(t, m)
	assert.False(t, m.Retire(time.Now()))
	m.Lost()
	m.Closed()
	assert.Zero(t, f.Snapshot())
}

func TestNodeOf(t *testing.T) {
	t.Parallel()
	for pid, node := range map[uint32]uint32{
		3<<20 | 0xABCDE:     3,
		0x7FF<<20 | 1:       0x7FF,
		1<<31 | 70_000:      70_000,
		1<<31 | 0x7FFF_FFFF: 0x7FFF_FFFF,
		0:                   0,
	} {
		assert.Equal(t, node, NodeOf(pid), "%#x", pid)
	}
}
