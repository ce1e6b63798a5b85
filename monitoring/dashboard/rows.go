package main

import "fmt"

var rows = []row{
	{"At a glance", []panel{
		{
			title: "Committed", kind: glance, unit: perSecond,
			means:   "Transactions that committed, in a second: the work that your application gets done.",
			queries: []query{{"committed/s", sum("", rate("cockroachdb_transactions_total", `outcome="committed"`))}},
		},
		{
			title: "Retries per transaction", kind: glance, unit: number, bad: 1,
			means:   "How often a transaction is run again, on average. Your application does not notice, but it waits, and the cluster works for nothing. Above 1 there is more repeating than work.",
			queries: []query{{"retries per transaction", retriesPerTransaction}},
		},
		{
			title: "p99 without retries", kind: glance, unit: seconds,
			means:   "99 of 100 transactions that met no conflict took no longer than this, your application's own time between the statements included.",
			queries: []query{{"p99", quantile(0.99, "", "cockroachdb_transaction_duration_seconds", `retried="false"`)}},
		},
		{
			title: "p99 with retries", kind: glance, unit: seconds,
			means:   "The same of transactions that met a conflict: what a retry costs your users in time. Empty while nothing is retried.",
			queries: []query{{"p99", quantile(0.99, "", "cockroachdb_transaction_duration_seconds", `retried="true"`)}},
		},
		{
			title: "Ambiguous commits", kind: glance, unit: number, bad: 0.5, whole: true,
			means:   "Commits in the time shown of which nobody knows whether they took effect: your application got an AmbiguousCommitError and has to look. Any at all is too many.",
			queries: []query{{"ambiguous commits", duringRange("cockroachdb_ambiguous_commits_total")}},
		},
		{
			title: "Divergences", kind: glance, unit: number, bad: 0.5, whole: true,
			means:   "Transactions in the time shown that your application was told to run again (DivergenceError), because a replay would have shown it something else. Those that RunTx ran again automatically are not in it.",
			queries: []query{{"diverged", duringRange("cockroachdb_transactions_total", `outcome="diverged"`)}},
		},
	}},
	{"Retries and their reasons", []panel{
		{
			title: "Retries, by reason", unit: perSecond, axis: "retries/s",
			means:   "New attempts, by what the server gave as the reason. write_too_old and serializable are conflicts over the same rows; uncertainty is about clocks; aborted and deadlock are about locks; connection is a connection that was lost, and no conflict.",
			queries: []query{{"{{reason}}", sum("reason", rate("cockroachdb_transaction_retries_total"))}},
		},
		{
			title: "Retries per transaction", unit: number, axis: "retries per transaction",
			means:   "How many times, on average, a transaction was run again before it ended. It tells more than the rate of retries alone: that grows with your traffic, this with contention.",
			queries: []query{{"retries per transaction", retriesPerTransaction}},
		},
		{
			title: "Savepoint restarts refused", unit: perSecond, axis: "restarts/s",
			means:   "Restarts that the server could not do by ROLLBACK TO SAVEPOINT, so that the driver began the transaction anew. Your application does not notice; the transaction gives up its locks in between, and may lose again.",
			queries: []query{{"refused", sum("", rate("cockroachdb_savepoint_restarts_refused_total"))}},
		},
	}},
	{"Attempts per transaction", []panel{
		{
			title: "Attempts per transaction", kind: heat, unit: number, axis: "attempts, at most",
			means: "How many attempts transactions took, the first included. All in the lowest row: no conflicts. The higher the dark cells, the longer the unlucky ones of your users wait.",
			queries: []query{{
				"{{le}}", sum("le", "increase("+of("cockroachdb_transaction_attempts_bucket")+"[$__rate_interval])"),
			}},
		},
		{
			title: "Transactions that needed a retry", unit: share, axis: "share of transactions",
			means: "Which share of your transactions took more than one attempt.",
			queries: []query{{"retried", fmt.Sprintf("%s / %s",
				sum("", rate("cockroachdb_transaction_duration_seconds_count", `retried="true"`)),
				sum("", rate("cockroachdb_transaction_duration_seconds_count")))}},
		},
	}},
	{"How transactions end", []panel{
		{
			title: "Transactions, by outcome", unit: perSecond, axis: "transactions/s",
			means:   "How transactions ended. committed, rolled_back and ended_by_application are your application's will; all others it got an error for.",
			queries: []query{{"{{outcome}}", sum("outcome", rate("cockroachdb_transactions_total"))}},
		},
		{
			title: "Transactions that failed, by outcome", unit: share, axis: "share of transactions",
			means: "Which share of transactions gave your application an error: each of them is a request that you answered with an error, or ran again by yourself.",
			queries: []query{{"{{outcome}}", fmt.Sprintf("%s / ignoring (outcome) group_left () %s",
				sum("outcome", rate("cockroachdb_transactions_total", `outcome!~"committed|rolled_back|ended_by_application"`)),
				sum("", rate("cockroachdb_transactions_total")))}},
		},
	}},
	{"Latency, with and without retries", []panel{
		{
			title: "Duration of transactions", unit: seconds, axis: "seconds",
			means: "From a transaction's first statement to its end, by whether it took more than one attempt. The gap between the two is what conflicts cost your users.",
			queries: []query{
				{"p50, retried {{retried}}", quantile(0.5, "retried", "cockroachdb_transaction_duration_seconds")},
				{"p99, retried {{retried}}", quantile(0.99, "retried", "cockroachdb_transaction_duration_seconds")},
			},
		},
		{
			title: "Waits", unit: number, axis: "transactions waiting",
			means:   "How many transactions wait, on average: for the retry lane, or in a backoff. They hold no locks meanwhile, but a connection each, and your users wait with them.",
			queries: []query{{"{{wait}}", sum("wait", rate("cockroachdb_backoff_seconds_total"))}},
		},
		{
			title: "Duration of replays", unit: seconds, axis: "seconds",
			means: "How long it takes to run a transaction's statements again and compare their answers: what a retry costs where there is nothing to wait for.",
			queries: []query{
				{"p50", quantile(0.5, "", "cockroachdb_replay_duration_seconds")},
				{"p99", quantile(0.99, "", "cockroachdb_replay_duration_seconds")},
			},
		},
	}},
	{"Where conflicts strike", []panel{
		{
			title: "Retries, by place", unit: perSecond, axis: "retries/s",
			means:   "Where the conflict came to light: at a statement, after rows that your application had already read, or at the commit. At the commit all of the work is done again; locking early (FOR UPDATE) moves conflicts forward, where they cost less.",
			queries: []query{{"{{at}}", sum("at", rate("cockroachdb_transaction_retries_total"))}},
		},
		{
			title: "Statements run again", unit: perSecond, axis: "statements/s",
			means: "Statements that the cluster had to answer a second time: the load that conflicts add to that of your application.",
			queries: []query{
				{"replayed", sum("", rate("cockroachdb_replayed_statements_total"))},
				{"with generated values that were shown", sum("", rate("cockroachdb_pinned_statements_total"))},
			},
		},
		{
			title: "Learned locks", unit: perSecond, axis: "1/s",
			means: "Reads that were sent with a lock that the driver has learned to add, and texts that began to lock or ceased to. By default only RunTx on CockroachDB learns them.",
			queries: []query{
				{"reads that lock", sum("", rate("cockroachdb_locked_reads_total"))},
				{"texts: {{change}}", sum("change", rate("cockroachdb_lock_changes_total"))},
			},
		},
		{
			title: "Waiting for the retry lane", unit: number, axis: "transactions",
			means:   "Transactions in line for the lane now. A line that never gets shorter means that a transaction which retries does not end: look for one that waits for something outside the database.",
			queries: []query{{"{{instance}} {{db_name}}", sum("instance, db_name", of("cockroachdb_retry_lane_waiting"))}},
		},
	}},
	{"Divergences, and what differed", []panel{
		{
			title: "Divergences, by what differed", unit: perSecond, axis: "divergences/s",
			means:   "Replays that would have shown your application something else than it had already seen, by what was different first. RunTx runs its function again then; without it your application gets a DivergenceError.",
			queries: []query{{"{{kind}}", sum("kind", rate("cockroachdb_replay_divergences_total"))}},
		},
		{
			title: "Divergences that the application was told of", unit: share, axis: "share of transactions",
			means: "Which share of your transactions ended in a DivergenceError: those to give to RunTx, or to change as docs/tuning.md says.",
			queries: []query{{"diverged", fmt.Sprintf("%s / %s",
				sum("", rate("cockroachdb_transactions_total", `outcome="diverged"`)),
				sum("", rate("cockroachdb_transactions_total")))}},
		},
	}},
	{"Not replayable", []panel{{
		title: "Not replayable, by cause", unit: perSecond, axis: "transactions/s",
		means:   "Transactions that the driver has stopped recording, by the cause. Nothing is wrong yet; but if one of them meets a conflict your application gets a NotReplayableError. statements and bytes: they are too large.",
		queries: []query{{"{{cause}}", sum("cause", rate("cockroachdb_not_replayable_total"))}},
	}}},
	{"Protection", []panel{
		{
			title: "Protected until the commit", unit: share, axis: "share",
			means:   "Which share of your transactions, and of statements outside one, a conflict or a lost connection could not have reached, at any moment before the commit was sent. The rest would have heard of it. The report of the connector has the statements.",
			queries: []query{{"{{of}}", shareOf("of", "cockroachdb_protection_total", `protection!="ended"`)}},
		},
		{
			title: "Protected, commit included", unit: share, axis: "share",
			means:   "The same for the answer to the commit, which only commit markers protect. Transactions that were rolled back, and statements that only read, need none.",
			queries: []query{{"{{of}}", shareOf("of", "cockroachdb_protection_total", `protection="whole"`)}},
		},
		{
			title: "Protection ended, by cause", unit: perSecond, axis: "ends/s",
			means:   "Transactions, and statements outside one, whose protection ended, by the first cause. Nothing is wrong yet; but a conflict or a lost connection would reach your application. docs/tuning.md says what to do about each.",
			queries: []query{{"{{cause}}", sum("cause", rate("cockroachdb_protection_ended_total"))}},
		},
	}},
	{"Ambiguous commits, and retries refused", []panel{
		{
			title: "Ambiguous commits", unit: perSecond, axis: "commits/s",
			means: "Commits that were sent and never answered. The money may have moved or not; your application has to look before it does anything again. Asked: with commit markers the driver has found out, unless the answer is unknown.",
			queries: []query{
				{"ambiguous", sum("", rate("cockroachdb_ambiguous_commits_total"))},
				{"asked, {{answer}}", sum("answer", rate("cockroachdb_commit_questions_total"))},
			},
		},
		{
			title: "Retries that there were not", unit: perSecond, axis: "per second",
			means: "Transactions that your application got a RetriesExhaustedError for, and retries that the empty token bucket refused: hardly anything commits any more, and the driver spares the cluster.",
			queries: []query{
				{"used up", sum("", rate("cockroachdb_transactions_total", `outcome="exhausted"`))},
				{"throttled", sum("", rate("cockroachdb_retries_throttled_total"))},
			},
		},
	}},
	{"Nodes that go away", []panel{
		{
			title: "Lost connections, by outcome", unit: perSecond, axis: "connections/s",
			means:   "Connections that were lost under a transaction or a read. replaced: it went on, on another connection, and your application did not notice. Of not_replayable and unreachable it was told, by a ConnectionLostError.",
			queries: []query{{"{{outcome}}", sum("outcome", rate("cockroachdb_failovers_total"))}},
		},
		{
			title: "Time to replace a connection", kind: heat, unit: seconds, axis: "seconds, at most",
			means: "How long it took to make a connection in place of a lost one, or to give up. Your users wait that long, and for the replay. Dark cells above a second: no node let anybody in meanwhile.",
			queries: []query{{
				"{{le}}", sum("le", "increase("+of("cockroachdb_failover_duration_seconds_bucket")+"[$__rate_interval])"),
			}},
		},
		{
			title: "Servers that fell silent", unit: perSecond, axis: "connections/s",
			means:   "Connections under a transaction whose server did not answer any more, for as long as dead_peer_timeout says. It was asked to cancel what it may still do; until it does, its locks may delay others.",
			queries: []query{{"silent", sum("", rate("cockroachdb_abandoned_sessions_total"))}},
		},
	}},
	{"Connections to the nodes", []panel{
		{
			title: "Dials, by outcome", unit: perSecond, axis: "dials/s",
			means:   "Attempts to connect to a host. unreachable: no answer; refused: the node is draining or starting; full: it has no room; rejected: the login is wrong; skipped: the host is in doubt, and another attempt is under way.",
			queries: []query{{"{{outcome}}", sum("outcome", rate("cockroachdb_dials_total"))}},
		},
		{
			title: "Connections retired while idle", unit: perSecond, axis: "connections/s",
			means:   "Connections that the driver closed between two uses: for their age, for a node that is going away, or to even out the spread. A minute after a node is back the line should be low again.",
			queries: []query{{"retired", sum("", rate("cockroachdb_connections_retired_total"))}},
		},
	}},
	{"Memory, and the pool", []panel{
		{
			title: "Memory of the records", unit: bytes, axis: "bytes",
			means:   "What the records of open transactions hold in your application's memory. It comes back when they end; a line that only grows is a transaction that never does.",
			queries: []query{{"{{instance}} {{db_name}}", sum("instance, db_name", of("cockroachdb_history_bytes"))}},
		},
		{
			title: "Connections of the pool", unit: number, axis: "connections",
			means: "What database/sql says of the same pool (collectors.NewDBStatsCollector, with the same db_name). Transactions in line for the lane keep their connection: where they are most of those in use, more connections don't help, fewer conflicts do.",
			queries: []query{
				{"in use", sum("", of("go_sql_in_use_connections"))},
				{"in line for the lane", sum("", fmt.Sprintf("%s and on (job, instance, db_name) %s",
					of("cockroachdb_retry_lane_waiting"), of("go_sql_in_use_connections")))},
				{"idle", sum("", of("go_sql_idle_connections"))},
				{"at most", sum("", of("go_sql_max_open_connections"))},
			},
		},
		{
			title: "Waits for a connection", unit: number, axis: "goroutines waiting",
			means:   "How many goroutines wait for a free connection, on average, before their transaction has even begun. None of the times above has it in it.",
			queries: []query{{"waiting", sum("", rate("go_sql_wait_duration_seconds_total"))}},
		},
	}},
}
