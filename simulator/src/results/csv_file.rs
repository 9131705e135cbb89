//! Reads and writes a table as CSV.

use std::{fs::File, io::Write, path::Path};

use csv::{ErrorKind, Reader, WriterBuilder};

use super::{ResultsError, row::Row};

pub(super) fn write<R: Row>(rows: &[R], to: &mut impl Write) -> std::io::Result<()> {
    // Write the header even if there is no row.
    let mut writer = WriterBuilder::new().has_headers(false).from_writer(to);
    writer.write_record(R::COLUMNS.iter().map(|column| column.name))?;
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush()
}

pub(super) fn read<R: Row>(path: &Path) -> Result<Vec<R>, ResultsError> {
    let file = File::open(path).map_err(ResultsError::io(path))?;
    let mut reader = Reader::from_reader(file);
    let names = reader
        .headers()
        .cloned()
        .map_err(|error| refused(path, &error, None))?;
    if let Some(missing) = R::COLUMNS
        .iter()
        .find(|column| !column.is_later && !names.iter().any(|name| name == column.name))
    {
        return Err(ResultsError::Csv {
            path: path.to_owned(),
            place: "line 1: ".to_owned(),
            what: format!("column {} is missing", missing.name),
        });
    }
    reader
        .deserialize()
        .map(|row| row.map_err(|error| refused(path, &error, Some(&names))))
        .collect()
}

fn refused(path: &Path, error: &csv::Error, names: Option<&csv::StringRecord>) -> ResultsError {
    let mut place = error
        .position()
        .map(|at| format!("line {}: ", at.line()))
        .unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| usize::try_from(field).ok());
            if let Some(name) = column.and_then(|column| names?.get(column)) {
                place.push_str("column ");
                place.push_str(name);
                place.push_str(": ");
            }
            err.kind().to_string()
        }
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} values, but there are {expected_len} columns"),
        _ => error.to_string(),
    };
    ResultsError::Csv {
        path: path.to_owned(),
        place,
        what,
    }
}
