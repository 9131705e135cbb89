//! The commit protocol as a model: writers, a store, and a network that may do anything with a request.
//!
//! Nothing in it is bounded but the numbers of writers, entries, claims, and different creates that were ever sent:
//! - A create that was sent may arrive at any later time, any number of times, or never. So it is never removed from
//!   [`State::sent`], and delays, losses, a client's blind repetitions and doubled requests need no count.
//! - A writer may crash between any two steps, any number of times, and starts again under its name. One that is paused
//!   for ever is a writer that takes no step.
//! - A read may return what was there at any earlier time, but for reads that are stated to be linearizable.
//! - A writer may publish, and may open the ledger again, at any time.

use crate::{
    chain::{Chain, Decision, MOST_ENTRIES, Set, codes, name},
    explore::{self, Model},
};

/// The most writers.
pub(crate) const MOST_WRITERS: usize = 3;
/// The most claims.
const MOST_CLAIMS: usize = 4;
/// The most different creates that are ever sent. A step that would send one more isn't taken.
const MOST_SENT: usize = 8;

/// What a writer does when it can't know whether its create succeeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unknown {
    ReadBack,
    /// It takes the entry for written.
    Success,
    /// It takes the entry for not written, and decides anew.
    Failure,
}

/// What a writer does when the store says that the entry exists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exists {
    ReadBack,
    /// It takes the entry for its own.
    Success,
    /// It takes the entry for another writer's.
    Fenced,
}

/// How a writer tells whether an entry that it reads back is its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Compare {
    /// By its hash: the content, and all entries before it.
    Hash,
    /// By its writer's name.
    Name,
}

/// What a writer does after another one has written the entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fenced {
    /// It forgets everything and reads the ledger again.
    Reopen,
    /// It goes on after the other's entry, with its own state, which contains its own decision.
    GoOn,
    /// It goes on after the other's entry, and has read nothing.
    NotReread,
}

/// How old entries are removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Compaction {
    Never,
    /// They are deleted: those that the checkpoint covers.
    Delete(Deletion),
    /// Their content is removed, and their names stay.
    Empty,
}

/// Which entries may be deleted, and when.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a rule that a test takes out"
)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Deletion {
    /// The checkpoint is durable before an entry that it covers is deleted; otherwise, it was sent.
    pub(crate) after_checkpoint: bool,
    /// An entry is deleted after all before it.
    pub(crate) ascending: bool,
    /// The entry at which the checkpoint was made stays, so that the next one has a predecessor.
    pub(crate) keeps_last: bool,
    /// The store refuses a checkpoint that isn't later than the one it has.
    pub(crate) checkpoint_rises: bool,
}

pub(crate) const DELETION: Deletion = Deletion {
    after_checkpoint: true,
    ascending: true,
    keeps_last: false,
    checkpoint_rises: true,
};

/// What a writer checks between the proof that its entry is in the store and the publication, to notice that the
/// entry's name was free because an entry had been deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Guard {
    Nothing,
    /// The entry before is there: read linearizably. Before entry 1, that there is no checkpoint.
    PredecessorExists,
    /// The entry before is there and the same as it was.
    PredecessorSame,
    /// The checkpoint, read linearizably, doesn't cover the entry.
    Floor,
    /// The checkpoint, read linearizably, is at an entry before this one that the writer knows.
    FloorInChain,
    /// As `Floor`, but read before the create is sent.
    FloorBefore,
    /// As `Floor`, but not after the entry was read back.
    FloorAfterCreated,
    /// As `Floor`, but the read may be out of date.
    FloorOutOfDate,
}

/// The protocol and the bounds of what is explored.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a rule that a test takes out"
)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Protocol {
    pub(crate) writers: usize,
    pub(crate) entries: usize,
    pub(crate) claims: u8,
    /// How many different creates may ever be sent. A step that would send one more isn't taken.
    pub(crate) sends: usize,
    /// How many claims the budget suffices for.
    pub(crate) budget: usize,
    /// All writers have the same name.
    pub(crate) one_name: bool,
    pub(crate) unknown: Unknown,
    pub(crate) exists: Exists,
    pub(crate) compare: Compare,
    pub(crate) fenced: Fenced,
    /// What a writer decides is published after the create, and not before.
    pub(crate) publishes_after: bool,
    /// The store creates an entry once; otherwise, the last create wins.
    pub(crate) creates_once: bool,
    pub(crate) compaction: Compaction,
    pub(crate) guard: Guard,
    /// A writer that has read entries reads the checkpoint, linearizably, before it decides. If that isn't at an entry
    /// that it knows, it opens the ledger again.
    pub(crate) checks_opening: bool,
    /// Which violations count. A step that violates something else is followed further.
    pub(crate) watched: &'static [Violation],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Violation {
    /// Two different entries of one number were published.
    TwoOfOneNumber,
    /// A writer published an entry, and the ledger that it knows lacks an entry that was published.
    NotInLaterLedger,
    /// An entry that was published is neither in the store nor covered by the checkpoint.
    Lost,
    /// The published grants exceed the budget.
    Overspent,
    /// One claim was published as granted in two entries.
    GrantedTwice,
    /// A writer is fenced by its own entry.
    FencedByItself,
    /// The store has an entry after the checkpoint that doesn't follow from it: no writer can go on.
    Blocked,
}

/// All that must never happen. `FencedByItself` only costs time, and may happen once entries are compacted: the checkpoint
/// may cover an entry before its writer has looked.
pub(crate) const NEVER: &[Violation] = &[
    Violation::TwoOfOneNumber,
    Violation::NotInLaterLedger,
    Violation::Lost,
    Violation::Overspent,
    Violation::GrantedTwice,
    Violation::Blocked,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// It follows the ledger, and may write the next entry. One that has just started has read nothing.
    Idle,
    /// It has sent its create and doesn't know whether it succeeded: it waits for the answer, reads the entry back, or has
    /// found nothing and has sent the create again. A sent create may arrive again in any case, so these are one phase.
    Trying,
    /// It has seen that its entry is in the store, by an answer or by reading it back.
    Written,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Writer {
    phase: Phase,
    /// The last entry that it knows.
    head: Chain,
    /// The decisions that its engine contains: those of `head`, unless a rule is broken.
    engine: Chain,
    /// The entry that it tries to write.
    draft: Chain,
    /// It has compared what it read with the checkpoint.
    is_checked: bool,
}

const UNCHANGED: Names = Names {
    writers: [0, 1, 2],
    claims: [0, 1, 2, 3],
};

const STARTED: Writer = Writer {
    phase: Phase::Idle,
    head: Chain::EMPTY,
    engine: Chain::EMPTY,
    draft: Chain::EMPTY,
    is_checked: false,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    store: [Chain; MOST_ENTRIES],
    /// The numbers of the entries that were deleted or emptied at least once, as bits.
    removed: u8,
    /// Entries that were in the store, for reads that are out of date.
    was: Set<MOST_SENT>,
    /// Creates that were sent: each may arrive at any time.
    sent: Set<MOST_SENT>,
    /// Checkpoints that were sent: each may arrive at any time.
    checkpoints_sent: Set<MOST_ENTRIES>,
    /// The checkpoint, named by the last entry that it covers.
    floor: Chain,
    /// All checkpoints that there were, for reads that are out of date.
    floors: Set<MOST_ENTRIES>,
    published: Set<MOST_SENT>,
    writers: [Writer; MOST_WRITERS],
}

/// What the writers and claims of a state are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    writers: [u8; MOST_WRITERS],
    claims: [u8; MOST_CLAIMS],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Crash(u8),
    ReadCheckpoint(u8, Chain),
    ReadNext(u8, Chain),
    CheckOpening(u8),
    Decide(u8, Decision),
    Arrive(Chain),
    Answer(u8),
    NoAnswer(u8),
    ReadBack(u8, Chain),
    Publish(u8),
    GuardFails(u8),
    SendCheckpoint(u8),
    CheckpointArrives(Chain),
    Remove(u8),
}

type Reach<'a> = &'a mut dyn FnMut(Step, Result<State, Violation>);

impl Protocol {
    fn at(state: &State, number: usize) -> Chain {
        state.store[number - 1]
    }

    /// What a read of the entry `number` may return: what is there or was there. (It may return nothing, too, after which
    /// nothing is different.)
    fn readable(&self, state: &State, number: usize) -> Vec<Chain> {
        let is_emptied = self.compaction == Compaction::Empty && state.removed & (1 << number) != 0;
        let mut found = Vec::new();
        if !is_emptied && !Self::at(state, number).is_empty() {
            found.push(Self::at(state, number));
        }
        for was in state.was.iter().filter(|was| was.length() == number) {
            if !found.contains(&was) {
                found.push(was);
            }
        }
        found
    }

    fn is_same(&self, one: Chain, other: Chain) -> bool {
        match self.compare {
            Compare::Hash => one == other,
            Compare::Name => one.last(self.claims).writer == other.last(self.claims).writer,
        }
    }

    /// Lets the store handle a create. Returns whether it created the entry.
    fn create(&self, state: &mut State, entry: Chain) -> bool {
        let place = &mut state.store[entry.length() - 1];
        if !place.is_empty() && self.creates_once {
            return false;
        }
        if self.compaction != Compaction::Never || !self.creates_once {
            // There is always room: everything that was in the store was sent.
            let _ = state.was.add(entry);
        }
        *place = entry;
        true
    }

    fn reports(&self, violation: Violation) -> bool {
        self.watched.contains(&violation)
    }

    /// Ends a step: forgets what can't matter any more, and checks the state.
    fn reach(&self, reach: Reach<'_>, step: Step, mut state: State) {
        if self.compaction == Compaction::Never && self.creates_once {
            let store = state.store;
            state.sent.retain(|entry| store[entry.length() - 1].is_empty());
        }
        if let Compaction::Delete(deletion) = self.compaction
            && deletion.checkpoint_rises
        {
            let floor = state.floor.length();
            state.checkpoints_sent.retain(|sent| sent.length() > floor);
        }
        let is_kept =
            |entry: Chain| Self::at(&state, entry.length()) == entry || state.floor.begins_with(entry);
        let floor = state.floor;
        let blocks = |entry: &Chain| entry.length() > floor.length() && !entry.begins_with(floor);
        if self.publishes_after && self.reports(Violation::Lost) && !state.published.iter().all(is_kept) {
            reach(step, Err(Violation::Lost));
        } else if self.reports(Violation::Blocked) && state.store.iter().any(blocks) {
            reach(step, Err(Violation::Blocked));
        } else {
            reach(step, Ok(state));
        }
    }

    /// Lets the writer publish its draft.
    fn publish(&self, state: &State, writer: usize, step: Step, reach: Reach<'_>) {
        let mut next = *state;
        let me = &mut next.writers[writer];
        let entry = me.draft;
        *me = Writer {
            head: entry,
            engine: if me.engine == me.head {
                entry
            } else {
                me.engine.with(entry.last(self.claims), self.claims)
            },
            is_checked: self.checks_opening,
            ..STARTED
        };
        match self.check_published(&mut next, entry) {
            Ok(()) => self.reach(reach, step, next),
            Err(violation) => reach(step, Err(violation)),
        }
    }

    /// Adds `entry` to what is published, and checks it.
    fn check_published(&self, state: &mut State, entry: Chain) -> Result<(), Violation> {
        let others = || state.published.iter().filter(|other| *other != entry);
        let granted = |entry: Chain| {
            let decision = entry.last(self.claims);
            decision.is_granted.then_some(decision.claim)
        };
        let grants = others().chain([entry]).filter_map(granted).count();
        let claim = granted(entry);
        let violations = [
            (Violation::Overspent, grants > self.budget),
            (
                Violation::GrantedTwice,
                claim.is_some() && others().any(|other| granted(other) == claim),
            ),
            (
                Violation::TwoOfOneNumber,
                others().any(|other| other.length() == entry.length()),
            ),
            (
                Violation::NotInLaterLedger,
                others().any(|other| !entry.begins_with(other) && !other.begins_with(entry)),
            ),
        ];
        for (violation, is_violated) in violations {
            if is_violated && self.reports(violation) {
                return Err(violation);
            }
        }
        // There is always room: everything that is published was sent.
        let _ = state.published.add(entry);
        Ok(())
    }

    /// Lets a writer find another entry in the place of its own.
    fn fence(&self, state: &State, writer: usize, by: Chain, step: Step, reach: Reach<'_>) {
        let mut next = *state;
        let me = &mut next.writers[writer];
        if by == me.draft && self.reports(Violation::FencedByItself) {
            reach(step, Err(Violation::FencedByItself));
            return;
        }
        *me = match self.fenced {
            Fenced::Reopen => STARTED,
            Fenced::GoOn => Writer {
                head: by,
                engine: me.draft,
                ..STARTED
            },
            Fenced::NotReread => Writer { head: by, ..STARTED },
        };
        self.reach(reach, step, next);
    }

    fn steps_of(&self, state: &State, writer: usize, reach: Reach<'_>) {
        let me = state.writers[writer];
        let number = u8::try_from(writer).unwrap();
        let with = |change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            next
        };
        if me != STARTED {
            let next = with(&|next| next.writers[writer] = STARTED);
            self.reach(reach, Step::Crash(number), next);
        }
        match me.phase {
            Phase::Idle => self.steps_of_idle(state, writer, reach),
            Phase::Trying => {
                let written = with(&|next| next.writers[writer].phase = Phase::Written);
                let mut next = written;
                if self.create(&mut next, me.draft) {
                    self.reach(reach, Step::Answer(number), next);
                } else if self.exists == Exists::Success {
                    self.reach(reach, Step::Answer(number), written);
                } else if self.exists == Exists::Fenced {
                    self.fence(
                        state,
                        writer,
                        Self::at(state, me.draft.length()),
                        Step::Answer(number),
                        reach,
                    );
                }
                match self.unknown {
                    Unknown::ReadBack => {}
                    Unknown::Success => self.reach(reach, Step::NoAnswer(number), written),
                    Unknown::Failure => {
                        let undone = with(&|next| {
                            next.writers[writer].phase = Phase::Idle;
                            next.writers[writer].draft = Chain::EMPTY;
                        });
                        self.reach(reach, Step::NoAnswer(number), undone);
                    }
                }
                for found in self.readable(state, me.draft.length()) {
                    let step = Step::ReadBack(number, found);
                    if !self.is_same(found, me.draft) {
                        self.fence(state, writer, found, step, reach);
                    } else if self.guard == Guard::FloorAfterCreated {
                        self.publish(state, writer, step, reach);
                    } else {
                        self.reach(reach, step, written);
                    }
                }
            }
            Phase::Written => {
                let (may_pass, may_fail) = self.guard(state, &me);
                if may_pass {
                    self.publish(state, writer, Step::Publish(number), reach);
                }
                if may_fail {
                    let next = with(&|next| next.writers[writer] = STARTED);
                    self.reach(reach, Step::GuardFails(number), next);
                }
            }
        }
    }

    /// Whether the check before the publication may pass, and whether it may fail.
    fn guard(&self, state: &State, me: &Writer) -> (bool, bool) {
        let number = me.draft.length();
        let passes = match self.guard {
            Guard::Nothing | Guard::FloorBefore => true,
            Guard::PredecessorExists | Guard::PredecessorSame if number == 1 => state.floor.is_empty(),
            Guard::PredecessorExists => !Self::at(state, number - 1).is_empty(),
            Guard::PredecessorSame => Self::at(state, number - 1) == me.draft.before(),
            Guard::Floor | Guard::FloorAfterCreated => state.floor.length() < number,
            Guard::FloorInChain => state.floor.length() < number && me.draft.begins_with(state.floor),
            // Before the first checkpoint, there was none.
            Guard::FloorOutOfDate => return (true, state.floor.length() >= number),
        };
        (passes, !passes)
    }

    fn steps_of_idle(&self, state: &State, writer: usize, reach: Reach<'_>) {
        let me = state.writers[writer];
        let number = u8::try_from(writer).unwrap();
        if me.head.is_empty() {
            for checkpoint in state.floors.iter() {
                let mut next = *state;
                next.writers[writer].head = checkpoint;
                next.writers[writer].engine = checkpoint;
                self.reach(reach, Step::ReadCheckpoint(number, checkpoint), next);
            }
        } else if self.compaction != Compaction::Never && me.head.length() > state.floor.length() {
            let mut next = *state;
            if next.checkpoints_sent.add(me.head) && next != *state {
                self.reach(reach, Step::SendCheckpoint(number), next);
            }
        }
        if me.head.length() == self.entries {
            return;
        }
        for found in self.readable(state, me.head.length() + 1) {
            // An entry that follows another one than the last is an error, and the writer learns nothing.
            if found.before() == me.head && me.head == me.engine {
                let mut next = *state;
                next.writers[writer].head = found;
                next.writers[writer].engine = found;
                next.writers[writer].is_checked = false;
                self.reach(reach, Step::ReadNext(number, found), next);
            }
        }
        if self.checks_opening && !me.is_checked {
            let mut next = *state;
            let me = &mut next.writers[writer];
            if me.head.begins_with(state.floor) {
                me.is_checked = true;
            } else {
                *me = STARTED;
            }
            self.reach(reach, Step::CheckOpening(number), next);
            return;
        }
        if self.guard == Guard::FloorBefore && state.floor.length() > me.head.length() {
            return;
        }
        let is_granted = me.engine.grants(self.claims) < self.budget;
        for claim in (0..self.claims).filter(|claim| !me.engine.decides(*claim, self.claims)) {
            let decision = Decision {
                writer: if self.one_name { 0 } else { number },
                claim,
                is_granted,
            };
            let mut next = *state;
            let draft = me.head.with(decision, self.claims);
            if !next.sent.add(draft) || next.sent.iter().count() > self.sends {
                continue;
            }
            next.writers[writer].phase = Phase::Trying;
            next.writers[writer].draft = draft;
            let step = Step::Decide(number, decision);
            let published = if self.publishes_after {
                Ok(())
            } else {
                self.check_published(&mut next, draft)
            };
            match published {
                Ok(()) => self.reach(reach, step, next),
                Err(violation) => reach(step, Err(violation)),
            }
        }
    }

    fn steps_of_network(&self, state: &State, reach: Reach<'_>) {
        for entry in state.sent.iter() {
            let mut next = *state;
            if self.create(&mut next, entry) && next != *state {
                self.reach(reach, Step::Arrive(entry), next);
            }
        }
        for checkpoint in state.checkpoints_sent.iter() {
            let rises = checkpoint.length() > state.floor.length();
            let keeps_order = match self.compaction {
                Compaction::Delete(deletion) => deletion.checkpoint_rises,
                Compaction::Never | Compaction::Empty => true,
            };
            let mut next = *state;
            if (rises || !keeps_order) && state.floor != checkpoint && next.floors.add(checkpoint) {
                next.floor = checkpoint;
                self.reach(reach, Step::CheckpointArrives(checkpoint), next);
            }
        }
    }

    fn steps_of_compaction(&self, state: &State, reach: Reach<'_>) {
        let deletion = match self.compaction {
            Compaction::Never => return,
            Compaction::Empty => DELETION,
            Compaction::Delete(deletion) => deletion,
        };
        for number in 1..=self.entries {
            let durable = state.floor.length();
            let sent = state.checkpoints_sent.iter().map(Chain::length).max();
            let covered = if deletion.after_checkpoint {
                durable
            } else {
                durable.max(sent.unwrap_or(0))
            };
            let most = covered.saturating_sub(usize::from(deletion.keeps_last));
            let is_next = !deletion.ascending || number == 1 || state.removed & (1 << (number - 1)) != 0;
            if number > most || !is_next {
                continue;
            }
            let mut next = *state;
            next.removed |= 1 << number;
            if self.compaction != Compaction::Empty {
                next.store[number - 1] = Chain::EMPTY;
            }
            if next != *state {
                self.reach(reach, Step::Remove(u8::try_from(number).unwrap()), next);
            }
        }
    }

    /// The new names of the claims: by the order in which the state names them first.
    fn order_of_claims(&self, state: &State) -> [u8; MOST_CLAIMS] {
        let mut order = [u8::MAX; MOST_CLAIMS];
        let mut named = 0;
        let drafts = state
            .writers
            .iter()
            .flat_map(|writer| [writer.head, writer.draft]);
        let entries = state.store.iter().copied().chain([state.floor]).chain(drafts);
        let others = state.sent.iter().chain(state.published.iter());
        let others = others
            .chain(state.was.iter())
            .chain(state.checkpoints_sent.iter());
        for entry in entries.chain(others).filter(|entry| !entry.is_empty()) {
            for decision in entry.decisions(self.claims) {
                let claim = &mut order[usize::from(decision.claim)];
                if *claim == u8::MAX {
                    *claim = named;
                    named += 1;
                }
            }
            if named == self.claims {
                break;
            }
        }
        for claim in order.iter_mut().filter(|claim| **claim == u8::MAX) {
            *claim = named;
            named += 1;
        }
        order
    }

    /// `entry` with the names that people read.
    fn named(&self, entry: Chain, names: Names) -> Chain {
        let writers = if self.one_name {
            UNCHANGED.writers
        } else {
            names.writers
        };
        entry.renamed(&codes(
            &writers[..self.writers],
            &names.claims[..usize::from(self.claims)],
        ))
    }

    fn show(&self, entry: Chain, names: Names) -> String {
        if entry.is_empty() {
            return "nothing".to_owned();
        }
        let entry = self.named(entry, names);
        format!("entry {} ({})", entry.length(), entry.last(self.claims))
    }
}

impl Model for Protocol {
    type State = State;
    type Step = Step;
    type Violation = Violation;
    type Names = Names;

    fn start(&self) -> (State, Names) {
        let state = State {
            store: [Chain::EMPTY; MOST_ENTRIES],
            removed: 0,
            was: Set::empty(),
            sent: Set::empty(),
            checkpoints_sent: Set::empty(),
            floor: Chain::EMPTY,
            floors: Set::empty(),
            published: Set::empty(),
            writers: [STARTED; MOST_WRITERS],
        };
        (state, UNCHANGED)
    }

    /// Sorts the writers, and names them and the claims by their order.
    fn renamed(&self, state: &State, names: Names) -> (State, Names) {
        let mut state = *state;
        let mut order = UNCHANGED.writers;
        order[..self.writers].sort_by_key(|writer| {
            let writer = &state.writers[usize::from(*writer)];
            (
                writer.phase,
                writer.head.length(),
                writer.draft,
                writer.head,
                writer.is_checked,
            )
        });
        let (mut writers, mut called) = (UNCHANGED.writers, names);
        let before = state.writers;
        for (place, writer) in order.iter().enumerate() {
            state.writers[place] = before[usize::from(*writer)];
            writers[usize::from(*writer)] = u8::try_from(place).unwrap();
            called.writers[place] = names.writers[usize::from(*writer)];
        }
        let claims = self.order_of_claims(&state);
        for (claim, place) in claims.iter().enumerate() {
            called.claims[usize::from(*place)] = names.claims[claim];
        }
        let writers = if self.one_name { UNCHANGED.writers } else { writers };
        let names = codes(&writers[..self.writers], &claims[..usize::from(self.claims)]);
        for entry in &mut state.store {
            *entry = entry.renamed(&names);
        }
        for writer in &mut state.writers {
            for entry in [&mut writer.head, &mut writer.engine, &mut writer.draft] {
                *entry = entry.renamed(&names);
            }
        }
        state.floor = state.floor.renamed(&names);
        state.floors.rename(&names);
        state.checkpoints_sent.rename(&names);
        for set in [&mut state.was, &mut state.sent, &mut state.published] {
            set.rename(&names);
        }
        (state, called)
    }

    fn steps(&self, state: &State, reach: &mut explore::Reach<'_, Self>) {
        for writer in 0..self.writers {
            self.steps_of(state, writer, reach);
        }
        self.steps_of_network(state, reach);
        self.steps_of_compaction(state, reach);
    }

    fn tell(&self, state: &State, step: Step, names: &Names) -> String {
        let me = |writer: u8| state.writers[usize::from(writer)];
        let show = |entry: Chain| self.show(entry, *names);
        let draft = |writer: u8| show(me(writer).draft);
        let it = |writer: u8| {
            let name = name(names.writers[usize::from(writer)]);
            if self.one_name {
                format!("{name}, which is named w1,")
            } else {
                name
            }
        };
        match step {
            Step::Crash(writer) => format!("{} crashes and starts again", it(writer)),
            Step::ReadCheckpoint(writer, found) => {
                format!("{} reads the checkpoint at {}", it(writer), show(found))
            }
            Step::ReadNext(writer, found) => format!("{} reads {}", it(writer), show(found)),
            Step::CheckOpening(writer) if me(writer).head.begins_with(state.floor) => {
                format!(
                    "{} finds the checkpoint at {}, which it knows",
                    it(writer),
                    show(state.floor)
                )
            }
            Step::CheckOpening(writer) => {
                let floor = show(state.floor);
                format!(
                    "{} finds the checkpoint at {floor}, which it doesn't know, and starts again",
                    it(writer)
                )
            }
            Step::Decide(writer, decision) => {
                let number = me(writer).head.length() + 1;
                let entry = self.named(Chain::EMPTY.with(decision, self.claims), *names);
                let decision = entry.last(self.claims);
                let first = if self.publishes_after {
                    ""
                } else {
                    ", publishes it"
                };
                format!(
                    "{} decides entry {number} ({decision}){first} and sends it",
                    it(writer)
                )
            }
            Step::Arrive(entry) => format!("a create of {} arrives, without an answer", show(entry)),
            Step::Answer(writer) => {
                let there = Self::at(state, me(writer).draft.length());
                let answer = if there.is_empty() || !self.creates_once {
                    "created"
                } else {
                    "it exists"
                };
                format!(
                    "{} has an answer to its create of {}: {answer}",
                    it(writer),
                    draft(writer)
                )
            }
            Step::NoAnswer(writer) => {
                format!("{} has no answer to its create of {}", it(writer), draft(writer))
            }
            Step::ReadBack(writer, found) => {
                format!(
                    "{} reads entry {} back: {}",
                    it(writer),
                    me(writer).draft.length(),
                    show(found)
                )
            }
            Step::Publish(writer) => format!("{} publishes {}", it(writer), draft(writer)),
            Step::GuardFails(writer) => format!("{} finds that it is fenced, and starts again", it(writer)),
            Step::SendCheckpoint(writer) => {
                format!("{} sends a checkpoint at {}", it(writer), show(me(writer).head))
            }
            Step::CheckpointArrives(at) => format!("the checkpoint at {} is durable", show(at)),
            Step::Remove(number) => {
                format!(
                    "the compaction removes {}",
                    show(Self::at(state, usize::from(number)))
                )
            }
        }
    }
}
