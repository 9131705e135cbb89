//! A statement as people read it.

use std::fmt::Write as _;

use super::{Answer, OfBlock, OfLedger};
use crate::{
    amounts::Amount,
    output::{Form, Report},
    table::Table,
};

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let mut text = String::new();
        for ledger in &self.ledgers {
            let _ = writeln!(
                text,
                "{}, {}\n",
                form.paint.bold(&format!("Statement of {}", self.of)),
                ledger.title()
            );
            text.push_str(&ledger.text(form));
            text.push('\n');
        }
        let (sign, says) = if self.is_right {
            ("right", form.paint.good("The sums are right, to the digit."))
        } else {
            (
                "wrong",
                form.paint.bad("A SUM IS WRONG: this is not a statement to sign."),
            )
        };
        if self
            .ledgers
            .iter()
            .any(|ledger| ledger.blocks.iter().any(|block| block.is_equal.is_some()))
        {
            let _ = writeln!(text, "{says}");
        } else if sign == "right" {
            text.push_str("It is a part of what each block's account says is consumed.\n");
        }
        text
    }
}

impl OfLedger {
    fn title(&self) -> String {
        let verified = match self.opening {
            None => "verified by replay".to_owned(),
            Some(at) => format!(
                "verified by replay from the checkpoint at entry {at} on, whose state is the opening balance: old entries were removed"
            ),
        };
        format!(
            "dataset {}, as of {} (entry {}, hash {}), {verified}",
            self.dataset, self.as_of, self.entries, self.hash
        )
    }

    pub(super) fn text(&self, form: Form) -> String {
        let mut table = Table::new(&[">ENTRY", "TIME", "CLAIM", "WHAT", "BLOCK", ">EPSILON", "FOR"]);
        for row in &self.rows {
            let of = self.blocks.iter().find(|block| block.block == row.block);
            let at = of.map_or(0, |block| block.shown.at);
            let amount = row.amounts.get(at).and_then(|amount| amount.amount.clone());
            table.row([
                row.entry.to_string(),
                row.time.clone(),
                row.claim.clone().unwrap_or_else(|| "-".to_owned()),
                match row.what {
                    "writtenOff" => "written off".to_owned(),
                    "spentBefore" => "spent before it came".to_owned(),
                    "consumedUntilThen" => "consumed until then".to_owned(),
                    "returned" => "returned: never ran".to_owned(),
                    what => what.to_owned(),
                },
                row.block.clone(),
                amount.unwrap_or_else(crate::budget::beyond),
                row.request.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let mut text = if table.is_empty() {
            "nothing was consumed\n".to_owned()
        } else {
            table.text("", form.paint)
        };
        text.push('\n');
        text.push_str(&self.sums(form).text("", form.paint));
        text
    }

    /// The sums of each block; with what they came with, if one came with anything.
    fn sums(&self, form: Form) -> Table {
        let has_before = self.blocks.iter().any(|block| block.spent_before.is_some());
        let mut columns = vec!["BLOCK", "OF", ">SUM", ">CONSUMED BY ALL", ">TOTAL"];
        if has_before {
            columns.extend([">SPENT BEFORE", ">GUARANTEED"]);
        }
        let mut sums = Table::new(&columns);
        for block in &self.blocks {
            for mut cells in block.sums(form.wide) {
                cells.truncate(columns.len());
                sums.row(cells);
            }
        }
        sums
    }
}

impl OfBlock {
    /// The cells of its rows, with those of what was spent before: one at each coordinate if `is_wide`.
    fn sums(&self, is_wide: bool) -> Vec<Vec<String>> {
        let shown = &self.shown;
        if !is_wide {
            let cells = [
                &self.block,
                &shown.coordinate,
                &shown.sum,
                &shown.consumed,
                &shown.total,
                &shown.spent_before,
                &shown.guaranteed,
            ];
            return vec![cells.map(Clone::clone).to_vec()];
        }
        let text = |amount: Option<&Amount>| match amount {
            Some(amount) => amount.amount.clone().unwrap_or_else(crate::budget::beyond),
            None => "-".to_owned(),
        };
        let row = |(at, sum): (usize, &Amount)| {
            let before = self.spent_before.as_ref();
            vec![
                self.block.clone(),
                sum.coordinate.clone(),
                text(Some(sum)),
                text(self.consumed.get(at)),
                text(self.total.get(at)),
                text(before.and_then(|before| before.amounts.get(at))),
                text(before.and_then(|before| before.guaranteed.get(at))),
            ]
        };
        self.sum.iter().enumerate().map(row).collect()
    }
}
