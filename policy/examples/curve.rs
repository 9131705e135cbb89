//! Prints the cost of a mechanism for scripts, as one line of JSON: its Renyi curve as the ledger charges it,
//! and the epsilon that it proves.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use privatekube_policy::{Composition, Conversion, Delta, Epsilon, Mechanism, Order, Orders, Proven};

const HELP: &str = "\
What a mechanism costs: its Renyi curve as the ledger charges it (rounded up), and the epsilon that it proves.

usage: curve MECHANISM [--orders ORDERS] [--delta DELTA]

  MECHANISM        like 'gaussian(sigma=2.1)', or a sum of multiples, 'gaussian(sigma=2.1) + 3*laplace(scale=10)';
                   docs/mechanisms.md lists all of them
  --orders ORDERS  Renyi orders above 1, separated by commas
                   [default: 1.5,1.75,2,2.5,3,4,5,6,8,16,32,64]
  --delta DELTA    the delta that the epsilon is for, above 0 and at most 1 [default: 1e-9]

It prints one line of JSON: the orders in ascending order; the epsilon charged at each, which is null beyond 64 bits; what
these prove for delta by the basic conversion (with which blocks are made) and by the improved one (for reporting); and
the order that proves each. Where no order proves an epsilon, both are null. If it is the first or the last of all
orders, an order beyond may prove less.
It exits with 0, with 2 if the arguments are wrong, with 1 if standard output can't be written, and with 141 if its
reader has closed it.

example:
  curve 'dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + 2*laplace(scale=10)' \\
      --orders 1.5,2,4,8 --delta 1e-9
";

struct Question {
    mechanism: Mechanism,
    orders: Orders,
    delta: Delta,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        return print(HELP);
    }
    match question(&arguments).and_then(|question| answer(&question)) {
        Ok(line) => print(&line),
        Err(problem) => {
            complain(&format!("{problem} (--help shows an example)"));
            ExitCode::from(2)
        }
    }
}

fn print(text: &str) -> ExitCode {
    ExitCode::from(write(&mut io::stdout(), text))
}

/// Writes `text`. Returns the exit code.
fn write(out: &mut impl Write, text: &str) -> u8 {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => 0,
        // The reader has closed the pipe: ends quietly, with the code that shells give for SIGPIPE.
        Err(problem) if problem.kind() == io::ErrorKind::BrokenPipe => 141,
        Err(problem) => {
            complain(&format!("can't write to standard output: {problem}"));
            1
        }
    }
}

/// Writes `problem` to standard error. If that fails, too, there is no way to report it.
fn complain(problem: &str) {
    let _ = writeln!(io::stderr(), "curve: {problem}");
}

fn question(arguments: &[String]) -> Result<Question, String> {
    let (mut mechanism, mut orders, mut delta) = (None, None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            if mechanism.replace(argument.as_str()).is_some() {
                return Err(format!(
                    "{argument:?} is one argument too many: write one mechanism, in quotes"
                ));
            }
            continue;
        }
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (argument.as_str(), None),
        };
        let known = match option {
            "--orders" => &mut orders,
            "--delta" => &mut delta,
            _ => {
                return Err(format!(
                    "{option:?} is not a known option: use --orders or --delta"
                ));
            }
        };
        let value = value.or_else(|| arguments.next().map(String::as_str));
        let value = value.ok_or_else(|| format!("{option} needs a value"))?;
        if known.replace(value).is_some() {
            return Err(format!("{option} is given twice"));
        }
    }
    let mechanism = mechanism.ok_or("a mechanism is missing: write one like 'gaussian(sigma=2.1)'")?;
    let delta: Delta = delta
        .unwrap_or("1e-9")
        .parse()
        .map_err(|problem| format!("--delta: {problem}"))?;
    if delta == Delta::ZERO {
        return Err("--delta: it must be above 0 and at most 1".to_owned());
    }
    Ok(Question {
        mechanism: mechanism
            .parse()
            .map_err(|problem| format!("mechanism: {problem}"))?,
        orders: orders
            .map_or_else(|| Ok(Orders::default()), read_orders)
            .map_err(|problem| format!("--orders: {problem}"))?,
        delta,
    })
}

fn read_orders(text: &str) -> Result<Orders, String> {
    let orders: Result<Vec<Order>, _> = text.split(',').map(|order| order.trim().parse()).collect();
    orders
        .and_then(Orders::new)
        .map_err(|problem| problem.to_string())
}

fn answer(question: &Question) -> Result<String, String> {
    let Question {
        mechanism,
        orders,
        delta,
    } = question;
    let composition = Composition::Renyi(orders.clone());
    let curve = mechanism
        .demand(&composition)
        .map_err(|problem| format!("mechanism: {problem}"))?;
    let amounts = curve.units().iter().enumerate();
    // A cost that saturates is more than any number that could be printed.
    let amounts = amounts.map(|(at, units)| match *units {
        i64::MAX => "null".to_owned(),
        units => composition.display_units(at, i128::from(units)),
    });
    let basic = Conversion::Basic.epsilon(orders, &curve, *delta);
    let improved = Conversion::Improved.epsilon(orders, &curve, *delta);
    let epsilon = |proven: Option<Proven<Epsilon>>| or_null(proven.map(|proven| proven.value));
    let order = |proven: Option<Proven<Epsilon>>| or_null(proven.map(|proven| proven.order));
    Ok(format!(
        "{{\"orders\":[{}],\"curve\":[{}],\"epsilon\":{{\"basic\":{},\"improved\":{}}},\
         \"order\":{{\"basic\":{},\"improved\":{}}}}}\n",
        list(orders.iter().map(|order| order.to_string())),
        list(amounts),
        epsilon(basic),
        epsilon(improved),
        order(basic),
        order(improved),
    ))
}

fn list(numbers: impl Iterator<Item = String>) -> String {
    numbers.collect::<Vec<_>>().join(",")
}

/// An exact decimal as a JSON number, or `null`.
fn or_null(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "null".to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn run(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        question(&arguments).and_then(|question| answer(&question))
    }

    /// An output to which nothing can be written.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_output_and_a_full_one_have_codes_of_their_own() {
        assert_eq!(write(&mut Vec::new(), "line\n"), 0);
        assert_eq!(write(&mut Broken(io::ErrorKind::BrokenPipe), "line\n"), 141);
        assert_eq!(write(&mut Broken(io::ErrorKind::StorageFull), "line\n"), 1);
    }

    #[test]
    fn the_answer_is_a_line_of_json() {
        let line = run(&[
            "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + 2*laplace(scale=10)",
            "--orders",
            "8,1.5, 2,4",
            "--delta=1e-9",
        ]);
        assert_eq!(
            line.as_deref(),
            Ok(
                "{\"orders\":[1.5,2,4,8],\"curve\":[0.110040256499,0.147798497288,0.304700744556,0.655423882391],\
                 \"epsilon\":{\"basic\":3.615890430527,\"improved\":3.185295960519},\
                 \"order\":{\"basic\":8,\"improved\":8}}\n"
            )
        );
        let value: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(value["orders"], serde_json::json!([1.5, 2, 4, 8]));
    }

    #[test]
    fn orders_and_delta_have_defaults() {
        let line = run(&["gaussian(sigma=30)"]).unwrap();
        assert_eq!(
            run(&["--delta", "0.000000001", "gaussian(sigma=30)"]),
            Ok(line.clone())
        );
        assert!(line.starts_with("{\"orders\":[1.5,1.75,2,2.5,3,4,5,6,8,16,32,64],"));
    }

    #[test]
    fn an_order_that_saturates_is_null_and_proves_nothing() {
        assert_eq!(
            run(&["gaussian(sigma=1e-300)", "--orders", "2,64"]).as_deref(),
            Ok(
                "{\"orders\":[2,64],\"curve\":[null,null],\"epsilon\":{\"basic\":null,\"improved\":null},\
                \"order\":{\"basic\":null,\"improved\":null}}\n"
            )
        );
        // 3e6 fits into 64 bits, and 32 times that does not. (Each of the Gaussians is rounded up.)
        let line = run(&["3000000*gaussian(sigma=1)", "--orders", "2,64"]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["curve"], serde_json::json!([3_000_000.000_003, null]));
        assert_eq!(value["order"], serde_json::json!({"basic": 2, "improved": 2}));
    }

    #[test]
    fn wrong_input_is_named_and_told_what_is_accepted() {
        for (arguments, message) in [
            (
                &[][..],
                "a mechanism is missing: write one like 'gaussian(sigma=2.1)'",
            ),
            (
                &["gaussian(sigma=0)"],
                "mechanism: sigma is \"0\": it must be a finite number above 0, like 2.1 or 1e3",
            ),
            (
                &["gaussian(sigma=1)", "+", "laplace(scale=1)"],
                "\"+\" is one argument too many: write one mechanism, in quotes",
            ),
            (
                &["gaussian(sigma=1)", "--orders", "1"],
                "--orders: \"1\" is not a Renyi order: write a number above 1 and below 1000000000 with at most 6 decimals, like 1.5 or 64",
            ),
            (
                &["gaussian(sigma=1)", "--orders", "2,2.0"],
                "--orders: the Renyi order 2 is given twice",
            ),
            (&["gaussian(sigma=1)", "--orders"], "--orders needs a value"),
            (
                &["gaussian(sigma=1)", "--delta", "2"],
                "--delta: \"2\" is too large: at most 1",
            ),
            (
                &["gaussian(sigma=1)", "--delta=0"],
                "--delta: it must be above 0 and at most 1",
            ),
            (
                &["gaussian(sigma=1)", "--delta=1", "--delta=1"],
                "--delta is given twice",
            ),
            (
                &["gaussian(sigma=1)", "--alpha=2"],
                "\"--alpha\" is not a known option: use --orders or --delta",
            ),
        ] {
            assert_eq!(run(arguments), Err(message.to_owned()));
        }
    }
}
