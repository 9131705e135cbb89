"""The dashboard for whoever operates the extender: whether it runs, how fast, and what fails."""

from panels import (
    ANY_IS_A_WARNING,
    ANY_IS_BAD,
    Column,
    Query,
    Section,
    build,
    heat,
    lines,
    models,
    stat_panel,
    states,
    table_panel,
)
from selection import DATASET, DATASET_LEGEND, DATASETS, of_datasets, or_zero, quantile, rate_of_datasets, variables

UID = "privatekube-machinery"

EXTENDER = "on (job, instance) group_left () max by (job, instance) (privatekube_build_info)"
"""Joined with a metric of any process, it keeps those of extenders."""
DAY = 86_400
EXPIRY = [(None, "red"), (7 * DAY, "orange"), (30 * DAY, "green")]
"""Certificates are made again by hand, so there is a month's notice."""
SLOW_SCHEDULER = [(None, "green"), (1, "orange"), (5, "red")]
"""The kube-scheduler waits for an extender for 5 s, unless its configuration says otherwise."""


def _increase(expr: str, by: str) -> str:
    return f"sum by ({by}) (increase({expr}[$__rate_interval]))"


def _of_extenders(metric: str) -> str:
    return f"sum by (instance) ({metric} * {EXTENDER})"


def _quantiles(metric: str, by: str, legend: str) -> list[Query]:
    return [
        Query(quantile(0.5, metric, by, matchers=""), f"{legend}, 50 %"),
        Query(quantile(0.99, metric, by, matchers=""), f"{legend}, 99 %"),
    ]


def _overview() -> Section:
    return Section(
        "Now",
        [
            stat_panel(
                "Ready",
                "Extenders that have read everything committed and seen every object. If it is 0 for some minutes, no "
                "budget is granted: the extender's log says what it waits for.",
                "short",
                or_zero("sum(privatekube_ready)"),
                steps=[(None, "red"), (1, "green")],
                runbook="extender-not-ready",
            ),
            stat_panel(
                "Version",
                "The version of the extender that runs. Two of them are an update, or two extenders by accident, "
                "which is safe and slow.",
                "none",
                "sum by (version) (privatekube_build_info)",
                names="version",
            ),
            stat_panel(
                "Running for",
                "How long the youngest extender has run. Counters and latencies begin anew with it.",
                "dtdurations",
                "time() - max(process_start_time_seconds * on (job, instance) group_left () max by (job, instance) "
                "(privatekube_build_info))",
            ),
            stat_panel(
                "Bypassed pods",
                "Pods that got a node without privacy budget since the extender started, and were deleted. Anything "
                "but 0 is an incident: find out who bound them, and whether they read data.",
                "short",
                or_zero("sum(privatekube_pods_bypassed_total)"),
                steps=ANY_IS_BAD,
                runbook="pods-bypassed",
            ),
            stat_panel(
                "Stopped datasets",
                "Datasets whose ledger can't be read or written, so nothing of them is granted or consumed. The "
                "causes are below.",
                "short",
                or_zero(f"sum({of_datasets('privatekube_dataset_stopped')})"),
                steps=ANY_IS_BAD,
                runbook="dataset-stopped",
            ),
            stat_panel(
                "Ledger entries lost or changed",
                "How often a ledger's last entry was found to be gone or another one since the extender started. "
                "Anything but 0 is an incident: somebody deleted or changed entries, or etcd was put back.",
                "short",
                or_zero(f'sum(privatekube_ledger_read_backs_total{{{DATASETS},outcome=~"lost|replaced"}})'),
                steps=ANY_IS_BAD,
                runbook="ledger-entry-lost",
            ),
            stat_panel(
                "Ledger conflicts",
                "Entries that could not be committed since the extender started, because somebody else had created the "
                "entry of that number. A few at an update are the other extender; more are two extenders by accident.",
                "short",
                or_zero(f"sum(privatekube_ledger_conflicts_total{{{DATASETS}}})"),
                steps=ANY_IS_A_WARNING,
                runbook="ledger-conflict",
            ),
            stat_panel(
                "First certificate expires in",
                "When the first certificate expires. After that, the scheduler or the API server refuse the "
                "extender, and private pods wait. docs/operations.md says how to make new ones.",
                "dtdurations",
                "min(privatekube_certificate_expiry_timestamp_seconds) - time()",
                steps=EXPIRY,
                runbook="certificate-ends",
            ),
        ],
    )


def _scheduler() -> Section:
    return Section(
        "Scheduler",
        [
            lines(
                "Requests by verb and outcome",
                "Requests of the kube-scheduler in a second. `stopped` and `starting` are pods that wait for the "
                "extender, `failed` and `refused` are Bindings that the API server didn't accept, `malformed` and "
                "`unreadable` are requests of another protocol: check the scheduler's configuration.",
                "reqps",
                Query(
                    "sum by (verb, outcome) (rate(privatekube_scheduler_requests_total[$__rate_interval]))",
                    "{{verb}}: {{outcome}}",
                ),
                stacked=True,
                empty=True,
                runbook="scheduler-requests-fail",
            ),
            lines(
                "Latency of scheduler requests",
                "How long requests of the kube-scheduler took. It waits for the extender, 5 s at most, and no other "
                "pod is scheduled meanwhile: if bind is slow, look at the API server's latency below.",
                "s",
                *_quantiles("privatekube_scheduler_request_duration_seconds", "verb", "{{verb}}"),
                steps=SLOW_SCHEDULER,
                empty=True,
            ),
            heat(
                "From the gate's removal to a node",
                "How long pods waited from the removal of their scheduling gate until they had a node. It grows "
                "where the cluster lacks something else than budget, or the scheduler is behind.",
                "s",
                _increase(f"privatekube_gate_to_bound_duration_seconds_bucket{{{DATASETS}}}", "le"),
            ),
            heat(
                "From the grant to the gate's removal",
                "How long it took from a claim's grant to the removal of its pod's scheduling gate. If it grows, "
                "the queue of gates or the API server is slow.",
                "s",
                _increase(f"privatekube_gate_removal_duration_seconds_bucket{{{DATASETS}}}", "le"),
            ),
        ],
    )


def _admission() -> Section:
    return Section(
        "Admission",
        [
            lines(
                "Reviews by webhook and answer",
                "Requests of the API server to the webhooks in a second. A jump of `denied` is a template with a "
                "mistake; `limited` is a namespace that makes more claims than it may; `failed` is a fault that the "
                "log names.",
                "reqps",
                Query(
                    "sum by (webhook, answer) (rate(privatekube_admission_requests_total[$__rate_interval]))",
                    "{{webhook}}: {{answer}}",
                ),
                stacked=True,
                empty=True,
                runbook="webhook-fails",
            ),
            lines(
                "Latency of reviews",
                "How long requests of the API server to the webhooks took. Who creates or changes these objects "
                "waits for it.",
                "s",
                *_quantiles("privatekube_admission_request_duration_seconds", "webhook", "{{webhook}}"),
                empty=True,
            ),
        ],
    )


def _ledgers() -> Section:
    stopped = of_datasets("privatekube_dataset_stopped", by=f"{DATASET}, cause")
    was_stopped = f"max_over_time(privatekube_dataset_stopped{{{DATASETS}}}[$__range])"
    outcomes = rate_of_datasets("privatekube_ledger_read_backs_total", by="outcome")
    return Section(
        "Ledgers",
        [
            states(
                "Stopped datasets by cause",
                "When which dataset was stopped, and why. `kubectl describe pds` says what to do; "
                "docs/operations.md has each cause.",
                f"{stopped} and max by ({DATASET}, cause) ({was_stopped}) == 1",
                f"{DATASET_LEGEND}: {{{{cause}}}}",
                {"0": ("runs again", "green"), "1": ("stopped", "red")},
                width=24,
                empty=True,
                runbook="dataset-stopped",
            ),
            lines(
                "Entries",
                "Entries committed to ledgers in a second. Each is an object in etcd that stays: docs/sizing.md "
                "says what that takes.",
                "wps",
                Query(rate_of_datasets("privatekube_ledger_entries_total", by=DATASET), DATASET_LEGEND),
                empty=True,
                runbook="ledgers-not-advancing",
            ),
            lines(
                "Events in an entry",
                "Engine events in an entry on average. It rises with the load, since what happens during one commit is "
                "committed together by the next one.",
                "short",
                Query(
                    f"{rate_of_datasets('privatekube_ledger_events_total', by=DATASET)} / "
                    f"({rate_of_datasets('privatekube_ledger_entries_total', by=DATASET)} > 0)",
                    DATASET_LEGEND,
                ),
                empty=True,
            ),
            lines(
                "Latency of commits",
                "How long it took to decide about and commit an entry. Nothing is granted faster than that; if it "
                "grows, look at etcd's disks and at the API server's latency below.",
                "s",
                Query(quantile(0.5, "privatekube_ledger_commit_duration_seconds"), "50 %"),
                Query(quantile(0.99, "privatekube_ledger_commit_duration_seconds"), "99 %"),
                width=8,
                empty=True,
                runbook="ledger-slow",
            ),
            lines(
                "Size of entries",
                "The size of committed entries as JSON. One above 1 MiB can't be committed, so claims with very many "
                "blocks are refused before.",
                "bytes",
                Query(quantile(0.5, "privatekube_ledger_entry_bytes"), "50 %"),
                Query(quantile(0.99, "privatekube_ledger_entry_bytes"), "99 %"),
                width=8,
                empty=True,
            ),
            lines(
                "Bytes committed",
                "Bytes of entries committed in a second, by dataset. They stay in etcd.",
                "binBps",
                Query(rate_of_datasets("privatekube_ledger_entry_bytes_sum", by=DATASET), DATASET_LEGEND),
                width=8,
                empty=True,
            ),
            lines(
                "Read-backs by outcome",
                "How often ledgers' last entries were read back in a second, by what was found. `unknown` means "
                "that the API server doesn't answer; `lost` and `replaced` are incidents.",
                "cps",
                Query(outcomes, "{{outcome}}"),
                colors={"same": "green", "unknown": "orange", "lost": "red", "replaced": "dark-red"},
                stacked=True,
                runbook="ledger-entry-lost",
            ),
            lines(
                "Conflicts",
                "Entries that somebody else had created already. Two extenders take turns; stop one of them.",
                "short",
                Query(_increase(f"privatekube_ledger_conflicts_total{{{DATASETS}}}", DATASET), DATASET_LEGEND),
                bars=True,
                runbook="ledger-conflict",
            ),
            lines(
                "Entries after the checkpoint",
                "How many entries a start reads and replays after the last checkpoint. It falls with each checkpoint, "
                "every 1,000 entries unless --checkpoint-every says otherwise.",
                "short",
                Query(
                    f"{of_datasets('privatekube_ledger_sequence')} - "
                    f"{of_datasets('privatekube_ledger_checkpoint_sequence')}",
                    DATASET_LEGEND,
                ),
                width=8,
                empty=True,
            ),
            lines(
                "Checkpoints by outcome",
                "Checkpoints that were made in a second. `failed` is logged with the reason, and tried again after a "
                "minute.",
                "cps",
                Query(rate_of_datasets("privatekube_ledger_checkpoints_total", by="outcome"), "{{outcome}}"),
                colors={"published": "green", "superseded": "orange", "failed": "red"},
                width=8,
                empty=True,
            ),
            lines(
                "Entries removed",
                "Entries that a checkpoint covers and that were deleted in a second, since --keep-entries says how "
                "long they are kept.",
                "cps",
                Query(rate_of_datasets("privatekube_ledger_entries_removed_total", by=DATASET), DATASET_LEGEND),
                width=8,
                empty=True,
            ),
            lines(
                "Entries not exported",
                "Committed entries that are not in the directory of --export yet. A few for a moment; if it grows, the "
                "directory can't be written, and no entry is removed.",
                "short",
                Query(
                    f"{of_datasets('privatekube_ledger_sequence')} - "
                    f"{of_datasets('privatekube_ledger_exported_sequence')}",
                    DATASET_LEGEND,
                ),
                empty=True,
                runbook="export-failing",
            ),
            lines(
                "Exports that fail",
                "Datasets whose entries can't be exported now have 1. The Event `ExportFailing` and the log say why.",
                "short",
                Query(of_datasets("privatekube_ledger_export_failing"), DATASET_LEGEND),
                empty=True,
                runbook="export-failing",
            ),
            lines(
                "Leaders",
                "How many replicas take themselves for the leader. It is 1; 0 while one takes over, and 2 for a moment "
                "if the former leader can't be reached, which is safe.",
                "short",
                Query("sum(privatekube_leader)", "leaders"),
                empty=True,
                runbook="extender-not-leading",
            ),
            lines(
                "Elections",
                "How often a replica became the leader. Each start, update and drain is one; more are a leader that "
                "can't renew its lease.",
                "short",
                Query("sum(increase(privatekube_elections_total[$__rate_interval]))", "elections"),
                bars=True,
                empty=True,
            ),
            table_panel(
                "Ledgers",
                "How many entries each ledger has, when it was written last, and how long it took to read, verify and "
                "publish it when it was opened last. That time passes at each start before the extender is ready.",
                [
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("A", "Entries", "short"),
                    Column("B", "Written", "dateTimeFromNow"),
                    Column("C", "Time to open", "s", [(None, "green"), (30, "orange"), (120, "red")]),
                ],
                of_datasets("privatekube_ledger_sequence"),
                f"{of_datasets('privatekube_ledger_last_entry_timestamp_seconds')} * 1000",
                of_datasets("privatekube_ledger_open_duration_seconds"),
                sort="Entries",
                height=8,
            ),
        ],
    )


def _queues() -> Section:
    return Section(
        "Queues, writes and watches",
        [
            lines(
                "Queues",
                "How much waits in each queue of the extender. `intake` are messages for bookkeepers, the others are "
                "writes to the API server. A queue that keeps growing is behind: see the writes and their answers.",
                "short",
                Query("max by (queue) (privatekube_queue_length)", "{{queue}}"),
                runbook="queue-long",
            ),
            lines(
                "Dropped Events",
                "Kubernetes Events that were not written because their queue was full: users miss them. What they "
                "say is in statuses, too.",
                "short",
                Query("sum(increase(privatekube_events_dropped_total[$__rate_interval]))", "dropped"),
                bars=True,
                runbook="events-dropped",
            ),
            lines(
                "Writes by answer",
                "Writes to the API server in a second. What has answer `error` is tried again, but for Events and "
                "Bindings; if it stays, the API server refuses them, and the log says why.",
                "wps",
                Query(
                    "sum by (what, answer) (rate(privatekube_writes_total[$__rate_interval]))", "{{what}}: {{answer}}"
                ),
                stacked=True,
                empty=True,
                runbook="writes-fail",
            ),
            lines(
                "Since the watches' last events",
                "How long ago each watch last delivered anything. A watch of what doesn't change is silent; if Pod is "
                "silent in a busy cluster, the extender doesn't see new pods.",
                "dtdurations",
                Query("time() - max by (resource) (privatekube_watch_last_event_timestamp_seconds)", "{{resource}}"),
                empty=True,
            ),
            lines(
                "Interrupted watches",
                "Watches that were interrupted and began again. One now and then is the API server closing "
                "connections; many mean that it is overloaded or restarts.",
                "short",
                Query(_increase("privatekube_watch_restarts_total", "resource"), "{{resource}}"),
                bars=True,
                empty=True,
                runbook="watch-restarts",
            ),
            lines(
                "Bypassed pods",
                "Pods that got a node without privacy budget and were deleted. Any bar is an incident.",
                "short",
                Query("sum(increase(privatekube_pods_bypassed_total[$__rate_interval]))", "bypassed"),
                bars=True,
                colors={"bypassed": "red"},
                runbook="pods-bypassed",
            ),
        ],
    )


def _api_server() -> Section:
    return Section(
        "API server and certificates",
        [
            lines(
                "Requests to the API server",
                "The extender's requests in a second by verb and answer. `throttled` is priority and fairness of "
                "the API server, `refused` may be a missing right, `failed` and `none in time` are the API server's "
                "troubles.",
                "reqps",
                Query(
                    "sum by (verb, answer) (rate(privatekube_api_requests_total[$__rate_interval]))",
                    "{{verb}}: {{answer}}",
                ),
                stacked=True,
                runbook="api-requests-fail",
            ),
            lines(
                "Latency of the API server",
                "How long it took until the API server's answer began. Commits, gates and Bindings can't be faster.",
                "s",
                *_quantiles("privatekube_api_request_duration_seconds", "verb", "{{verb}}"),
            ),
            table_panel(
                "Certificates",
                "When each certificate expires. Make new ones a month before, with the authority that signed the "
                "old ones (`privatekube-extender certificates`), and restart the extender and the scheduler.",
                [
                    Column("certificate", "Certificate"),
                    Column("A", "Expires in", "dtdurations", EXPIRY),
                    Column("B", "Expires", "dateTimeAsIso"),
                ],
                "min by (certificate) (privatekube_certificate_expiry_timestamp_seconds) - time()",
                "min by (certificate) (privatekube_certificate_expiry_timestamp_seconds) * 1000",
                sort="Expires in",
                ascending=True,
                width=24,
                height=6,
                runbook="certificate-ends",
            ),
        ],
    )


def _process() -> Section:
    return Section(
        "The process",
        [
            lines(
                "Memory",
                "Resident memory of each extender. docs/sizing.md says what claims and blocks take; if it grows "
                "without these, report it.",
                "bytes",
                Query(_of_extenders("process_resident_memory_bytes"), "{{instance}}"),
                width=8,
            ),
            lines(
                "Processor time",
                "Processor seconds in a second of each extender.",
                "percentunit",
                Query(_of_extenders("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}"),
                width=8,
            ),
            lines(
                "File descriptors",
                "Open file descriptors of each extender, as part of how many it may have. Its ports take 832 at "
                "most; if it nears 1, raise the limit.",
                "percentunit",
                Query(
                    f"sum by (instance) (process_open_fds / on (job, instance) process_max_fds * {EXTENDER})",
                    "{{instance}}",
                ),
                width=4,
                steps=[(None, "green"), (0.8, "orange"), (0.95, "red")],
                largest=1,
            ),
            lines(
                "Threads",
                "Threads of each extender. It has a fixed number, so growth is a fault: report it.",
                "short",
                Query(_of_extenders("process_threads"), "{{instance}}"),
                width=4,
            ),
        ],
    )


def dashboard() -> models.Dashboard:
    """The whole dashboard."""
    return build(
        UID,
        "PrivateKube: machinery",
        "Whether the extender runs, how fast it answers, and what fails. For operators.",
        variables(),
        [_overview(), _scheduler(), _admission(), _ledgers(), _queues(), _api_server(), _process()],
        period="3h",
        refresh="30s",
        pages={"Operations": "docs/operations.md"},
    )
