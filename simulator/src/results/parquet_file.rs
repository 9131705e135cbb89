//! Reads and writes a table as Parquet. Rows are converted by way of JSON objects, whose keys are the
//! columns' names.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        reader::{FileReader as _, SerializedFileReader},
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    record::Field,
    schema::{parser::parse_message_type, types::Type},
};
use serde_json::{Map, Value};

use super::{
    ResultsError,
    row::{Column, Kind, Row},
};

/// The definition level of a present value in an optional column.
const THERE: i16 = 1;

pub(super) fn write<R: Row>(rows: &[R], to: &mut (impl Write + Send)) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let rows = rows
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<Value>, _>>()
        .map_err(|error| ParquetError::External(error.into()))?;
    let mut file = SerializedFileWriter::new(to, schema::<R>()?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let mut columns = R::COLUMNS.iter();
    while let (Some(column), Some(writer)) = (columns.next(), group.next_column()?) {
        let values = rows.iter().map(|row| &row[column.name]);
        match column.kind {
            Kind::Text => write_column::<ByteArrayType>(column, writer, values, |value| {
                value.as_str().map(ByteArray::from)
            }),
            Kind::Whole => write_column::<Int64Type>(column, writer, values, Value::as_i64),
            Kind::Number => write_column::<DoubleType>(column, writer, values, Value::as_f64),
        }?;
    }
    group.close()?;
    file.close()?;
    Ok(())
}

fn schema<R: Row>() -> Result<Arc<Type>, ParquetError> {
    let columns = R::COLUMNS.iter().map(|column| {
        let presence = if column.is_optional {
            "optional"
        } else {
            "required"
        };
        match column.kind {
            Kind::Text => format!("{presence} binary {} (string);", column.name),
            Kind::Whole => format!("{presence} int64 {};", column.name),
            Kind::Number => format!("{presence} double {};", column.name),
        }
    });
    let columns: String = columns.collect();
    parse_message_type(&format!("message {} {{ {columns} }}", R::TABLE)).map(Arc::new)
}

fn write_column<'a, T: DataType>(
    column: &Column,
    mut writer: SerializedColumnWriter<'_>,
    values: impl Iterator<Item = &'a Value>,
    get: impl Fn(&Value) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = values.map(get).collect();
    let levels: Vec<i16> = values
        .iter()
        .map(|value| if value.is_some() { THERE } else { 0 })
        .collect();
    if !column.is_optional && levels.contains(&0) {
        return Err(ParquetError::General(format!(
            "column {} lacks a value",
            column.name
        )));
    }
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    let levels = column.is_optional.then_some(levels.as_slice());
    writer.typed::<T>().write_batch(&values, levels, None)?;
    writer.close()
}

pub(super) fn read<R: Row>(path: &Path) -> Result<Vec<R>, ResultsError> {
    let refused = |error| ResultsError::Parquet {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(ResultsError::io(path))?;
    let reader = SerializedFileReader::new(file).map_err(refused)?;
    let rows = reader.get_row_iter(None).map_err(refused)?;
    let read = rows.enumerate().map(|(place, row)| {
        let row = row.map_err(refused)?;
        let values: Map<String, Value> = row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect();
        serde_json::from_value(Value::Object(values)).map_err(|error| ResultsError::Row {
            path: path.to_owned(),
            row: place + 1,
            error,
        })
    });
    read.collect()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => text.as_str().into(),
        Field::Long(whole) => (*whole).into(),
        Field::Double(number) => (*number).into(),
        // No table has a column of this type. Deserializing the row fails and names the value.
        other => other.to_string().into(),
    }
}
