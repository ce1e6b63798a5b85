package exactlyonce

// A Mistake is a change of the protocol that breaks it.
type Mistake string

// The mistakes that can be planted, by their names. None is the protocol as it should be.
const (
	None                   Mistake = ""
	AsksByReading          Mistake = "asks-by-reading"
	AsksWithoutSentinel    Mistake = "asks-without-sentinel"
	AsksByNewEpoch         Mistake = "asks-by-new-epoch"
	AsksAfterExpiry        Mistake = "asks-after-expiry"
	AsksOnce               Mistake = "asks-once"
	IgnoresRefused         Mistake = "ignores-refused"
	KeepsKey               Mistake = "keeps-key"
	MarksAfterCommit       Mistake = "marks-after-commit"
	CommitsWithoutSentinel Mistake = "commits-without-sentinel"
	DeletesTooEarly        Mistake = "deletes-too-early"
	DeletesAsked           Mistake = "deletes-asked"
	DeletesOthers          Mistake = "deletes-others"
	LeavesMarkers          Mistake = "leaves-markers"
	ExpiresTooEarly        Mistake = "expires-too-early"
)

// A Planted mistake is what can be asked for by name, and what finds it.
type Planted struct {
	Mistake Mistake
	// Does says what is done wrong.
	Does string
	// Breaks is the property that does not hold then.
	Breaks Property
	// Bounds are some within which that shows.
	Bounds Bounds
}

// Mistakes returns all that can be planted.
func Mistakes() []Planted {
	one, two := OneClient(), TwoClients()
	return []Planted{
		{AsksByReading, "the question reads the marker and inserts nothing", AtMostOnce, one},
		{AsksWithoutSentinel, "the question does not look for the sentinel", AtMostOnce, one},
		{AsksByNewEpoch, "the question looks for the sentinel that is there when it is asked", AtMostOnce, one},
		{AsksAfterExpiry, "CommitOutcome asks about keys of any age", NoIsFinal, one},
		{AsksOnce, "a question that was lost is not asked again", NothingWaits, one},
		{IgnoresRefused, "the question takes any row for a commit's", NilIsCommitted, one},
		{KeepsKey, "the replay uses the key of the commit that was refused", UnaskedIsNotRefused, one},
		{MarksAfterCommit, "the marker is inserted after the COMMIT", AtMostOnce, one},
		{CommitsWithoutSentinel, "the commit does not look for the sentinel", AtMostOnce, one},
		{DeletesTooEarly, "a commit deletes the marker of the one before, whose answer was lost", NoIsFinal, one},
		{DeletesAsked, "a commit deletes the marker of the one before, found by a question", NoContradiction, one},
		{DeletesOthers, "a commit deletes the marker of another client, whose answer may be lost", NoIsFinal, two},
		{LeavesMarkers, "a commit does not delete the marker of the one before", OneMarkerEach, one},
		{ExpiresTooEarly, "a marker expires while its commit is still on its way", AnswerIsTrue, one},
	}
}
