//! The columns of the tables, as the file formats need them.

use serde::{Serialize, de::DeserializeOwned};

use super::{ClassRow, DelayRow, RunRow};

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Number,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether a value may be missing.
    pub(super) is_optional: bool,
    /// Whether tables of earlier versions lack the column; then all its values are missing.
    pub(super) is_later: bool,
}

/// A row of a table.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// The table's name.
    const TABLE: &'static str;
    /// The columns, in the order of the row's fields and with their names.
    const COLUMNS: &'static [Column];
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_optional: false,
        is_later: false,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_optional: true,
        is_later: false,
    }
}

const fn later(name: &'static str, kind: Kind) -> Column {
    Column {
        is_later: true,
        ..optional(name, kind)
    }
}

impl Row for RunRow {
    const TABLE: &'static str = "runs";
    const COLUMNS: &'static [Column] = &[
        column("run", Kind::Text),
        column("experiment", Kind::Text),
        column("policy", Kind::Text),
        optional("order", Kind::Text),
        column("composition", Kind::Text),
        optional("n", Kind::Whole),
        optional("lifetime", Kind::Number),
        optional("mice", Kind::Number),
        optional("recompute_after", Kind::Whole),
        optional("fairness", Kind::Whole),
        optional("spread", Kind::Number),
        optional("least", Kind::Number),
        later("revision", Kind::Whole),
        column("seed", Kind::Whole),
        column("blocks", Kind::Whole),
        column("tasks", Kind::Whole),
        column("granted", Kind::Whole),
        optional("granted_by_engine", Kind::Whole),
        optional("bound", Kind::Whole),
        column("refused", Kind::Whole),
        column("waiting", Kind::Whole),
        optional("delay_average", Kind::Number),
        optional("delay_p50", Kind::Number),
        optional("delay_p90", Kind::Number),
        optional("delay_p99", Kind::Number),
        optional("delay_p999", Kind::Number),
        optional("delay_max", Kind::Number),
        later("jain", Kind::Number),
        later("weighted_jain", Kind::Number),
        later("weight_disagreement", Kind::Number),
        later("fair_at_once", Kind::Whole),
        later("fair_not_at_once", Kind::Whole),
        later("envied", Kind::Whole),
        later("envied_unknown", Kind::Whole),
        later("unused_blocks", Kind::Number),
        column("wall", Kind::Number),
    ];
}

impl Row for ClassRow {
    const TABLE: &'static str = "classes";
    const COLUMNS: &'static [Column] = &[
        column("run", Kind::Text),
        column("class", Kind::Text),
        column("tasks", Kind::Whole),
        column("granted", Kind::Whole),
    ];
}

impl Row for DelayRow {
    const TABLE: &'static str = "delays";
    const COLUMNS: &'static [Column] = &[
        column("run", Kind::Text),
        column("delay", Kind::Number),
        column("granted", Kind::Whole),
    ];
}
