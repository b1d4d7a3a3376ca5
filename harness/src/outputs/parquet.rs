//! Apache Parquet: columns as in [`super::table`], all of them optional, in one row group.

use super::table::{COLUMNS, Value};
use anyhow::{Context, Result};
use parquet::{
    basic::{LogicalType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::Type,
};
use record::Record;
use std::{io::Write, sync::Arc};

/// The whole file.
pub fn render(records: &[Record]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(records, &mut bytes).context("writing Parquet")?;
    Ok(bytes)
}

fn write(records: &[Record], sink: &mut (impl Write + Send)) -> Result<()> {
    let columns: Vec<ColumnData> =
        COLUMNS.iter().map(|(_, value)| ColumnData::of(records, *value)).collect();
    let fields = COLUMNS.iter().zip(&columns).map(|((name, _), values)| {
        let (physical, logical) = values.kind();
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        Ok(Arc::new(field.build()?))
    });
    let schema = Type::group_type_builder("record").with_fields(fields.collect::<Result<_>>()?);
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(sink, Arc::new(schema.build()?), properties)?;
    let mut group = file.next_row_group()?;
    for values in columns {
        match values {
            ColumnData::Text(values) => write_column::<ByteArrayType, _>(&mut group, values)?,
            ColumnData::Count(values) => write_column::<Int64Type, _>(&mut group, values)?,
            ColumnData::Number(values) => write_column::<DoubleType, _>(&mut group, values)?,
        }
    }
    group.close()?;
    file.close()?;
    Ok(())
}

fn write_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: Vec<Option<T::T>>,
) -> Result<()> {
    let mut column = group.next_column()?.context("a column without a place in the schema")?;
    // A level of 1 says that there is a value, and only such values are written.
    let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
    let values: Vec<T::T> = values.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    Ok(column.close()?)
}

/// The values of one column.
enum ColumnData {
    Text(Vec<Option<ByteArray>>),
    Count(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
}

impl ColumnData {
    fn of(records: &[Record], value: fn(&Record) -> Value<'_>) -> ColumnData {
        let (mut texts, mut counts, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match value(record) {
                Value::Text(text) => texts.push(text.map(|text| text.as_ref().into())),
                Value::Count(count) => {
                    counts.push(count.map(|count| count.min(i64::MAX as u64) as i64))
                }
                Value::Number(number) => numbers.push(number),
            }
        }
        match (counts.is_empty(), numbers.is_empty()) {
            (false, _) => ColumnData::Count(counts),
            (_, false) => ColumnData::Number(numbers),
            _ => ColumnData::Text(texts),
        }
    }

    fn kind(&self) -> (Physical, Option<LogicalType>) {
        match self {
            ColumnData::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnData::Count(_) => (Physical::INT64, None),
            ColumnData::Number(_) => (Physical::DOUBLE, None),
        }
    }
}
