//! What was tried, as people read it.

use std::fmt::Write as _;

use privatekube_policy::{Epsilon, Rounding};

use super::{Answer, FEW_BLOCKS, PodsTried, Tried};
use crate::{
    exit::Exit,
    output::{Form, Report},
    statuses::table,
    table::Table,
};

impl Tried {
    pub(super) fn exit(&self) -> Exit {
        match self.outcome {
            "granted" | "nothing" => Exit::Done,
            "waits" => Exit::Waits,
            "unknown" => Exit::NotAllowed,
            _ => Exit::Refused,
        }
    }

    fn title(&self, form: Form) -> String {
        let paint = form.paint;
        match self.outcome {
            "granted" => paint.good("would be granted now"),
            "waits" => paint.middling("would wait, and may be granted later"),
            "denied" => paint.bad("would never be granted"),
            "refused" => paint.bad("would be refused when it is applied"),
            "nothing" => "requests no budget".to_owned(),
            _ => paint.middling("is not known"),
        }
    }

    pub(super) fn text(&self, form: Form) -> String {
        let paint = form.paint;
        let on = self
            .dataset
            .as_ref()
            .map_or_else(String::new, |dataset| format!(" on dataset {dataset}"));
        let mut text = format!("{}{on}: {}\n", paint.bold(&self.what), self.title(form));
        for fault in &self.faults {
            let _ = writeln!(text, "  {} {fault}", paint.bad("refused:"));
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "  {} {warning}", paint.middling("warning:"));
        }
        if let Some(why) = self.why.as_ref().filter(|_| self.faults.is_empty()) {
            let _ = writeln!(text, "  {why}");
        }
        if self.others_granted > 0 {
            let others = match self.others_granted {
                1 => "another claim that waits".to_owned(),
                count => format!("{count} other claims that wait"),
            };
            let _ = writeln!(text, "  its arrival would unlock enough for {others}");
        }
        if let Some(fits) = &self.fits_now {
            let _ = writeln!(text, "  would be granted now: {}", fits.sentence());
        }
        if let Some(PodsTried {
            pods,
            granted_now,
            of,
        }) = &self.pods
        {
            let most = pods.at_most.map_or_else(
                || "any number of pods".to_owned(),
                |most| format!("at most {most}"),
            );
            let least = if pods.at_least == 1 {
                "1 pod"
            } else {
                &format!("{} pods", pods.at_least)
            };
            let _ = writeln!(
                text,
                "  {} {least} if none fails, and {most}, each of which pays ({}); of {of}, {granted_now} would be granted now",
                paint.bold("pods:"),
                pods.why
            );
        }
        text.push_str(&self.table(form));
        text.push_str(&table(&self.statuses, form));
        text
    }

    fn table(&self, form: Form) -> String {
        if self.blocks.is_empty() {
            return String::new();
        }
        let shown = if form.wide { self.blocks.len() } else { FEW_BLOCKS };
        let mut table = Table::new(&[
            "BLOCK",
            "OF",
            ">ASKED",
            ">AVAILABLE NOW",
            ">AFTER ITS ARRIVAL",
            ">LEFT ONCE GRANTED",
        ]);
        for block in self.blocks.iter().take(shown) {
            table.row([
                block.block.clone(),
                block.coordinate.clone(),
                few(&block.asked, Rounding::Nearest),
                few(&block.available_now, Rounding::Down),
                few(&block.available_after_arrival, Rounding::Down),
                few(&block.left, Rounding::Down),
            ]);
        }
        let mut text = format!("\n{}", table.text("  ", form.paint));
        let count = self.block_count.unwrap_or_default();
        if count > shown {
            let _ = writeln!(
                text,
                "  the {} blocks with the least left, of {count}",
                shown.min(self.blocks.len())
            );
        }
        text
    }
}

/// A decimal with all digits as one with 4.
fn few(decimal: &str, rounding: Rounding) -> String {
    let (sign, digits) = match decimal.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, decimal),
    };
    let epsilon = digits.parse::<Epsilon>();
    epsilon.map_or_else(
        |_| decimal.to_owned(),
        |epsilon| Epsilon::from_units(sign * epsilon.units()).short(rounding),
    )
}

impl Answer {
    pub(in crate::dry_run) fn exit(&self) -> Exit {
        self.tried
            .iter()
            .fold(Exit::Done, |exit, tried| exit.or(tried.exit()))
    }
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let texts: Vec<String> = self.tried.iter().map(|tried| tried.text(form)).collect();
        texts.join("\n")
    }
}
