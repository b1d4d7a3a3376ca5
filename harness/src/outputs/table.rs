//! A record as one row of values, for formats that know no nesting.

use record::{Adapter, Correctness, Cost, Memory, Record, Timing};

/// What stands in a column of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text, some of it from pages, models and drivers.
    Text(Option<std::borrow::Cow<'a, str>>),
    /// A number of things or bytes.
    Count(Option<u64>),
    /// A measured number.
    Number(Option<f64>),
}

use Value::{Count, Number};

fn text<'a>(value: impl Into<std::borrow::Cow<'a, str>>) -> Value<'a> {
    Value::Text(Some(value.into()))
}

fn maybe(value: Option<&str>) -> Value<'_> {
    Value::Text(value.map(Into::into))
}

fn correctness(record: &Record, value: fn(&Correctness) -> Option<f64>) -> Value<'_> {
    Number(record.outcome.correctness.as_ref().and_then(value))
}

fn memory(record: &Record, value: fn(&Memory) -> Option<u64>) -> Value<'_> {
    Count(record.outcome.memory.as_ref().and_then(value))
}

fn pass_cost(record: &Record, value: fn(Cost) -> u64) -> Value<'_> {
    Count(record.outcome.timing.as_ref().and_then(|timing| timing.pass_cost).map(value))
}

fn timing(record: &Record, value: fn(&Timing) -> Option<f64>) -> Value<'_> {
    Number(record.outcome.timing.as_ref().and_then(value))
}

/// What is told of an adapter, in the order of the fields.
fn adapter(adapter: &Adapter) -> String {
    let told = [&adapter.vendor, &adapter.architecture, &adapter.device, &adapter.description];
    let told: Vec<_> =
        told.into_iter().filter(|text| !text.is_empty()).map(String::as_str).collect();
    told.join(" ")
}

/// Name and value of a column.
pub type Column = (&'static str, fn(&Record) -> Value<'_>);

/// The columns. Their names are those of the record's fields, with the unit where there is one.
pub const COLUMNS: &[Column] = &[
    ("run_id", |r| text(r.run_id.as_str())),
    ("started_at", |r| text(r.started_at.as_str())),
    ("class", |r| text(r.cell.class.name())),
    ("case", |r| text(r.cell.case.as_str())),
    ("bits", |r| text(r.cell.precision.bits.to_string())),
    ("scheme", |r| text(r.cell.precision.scheme.name())),
    ("group_size", |r| Count(Some(r.cell.precision.group_size.into()))),
    ("precision", |r| text(r.cell.precision.to_string())),
    ("backend", |r| text(r.cell.backend.name())),
    ("browser", |r| text(r.cell.browser.name())),
    ("axes", |r| {
        let axes = r.cell.axes.iter().map(|(axis, value)| format!("{axis}={value}"));
        text(axes.collect::<Vec<_>>().join(" "))
    }),
    ("browser_version", |r| text(r.environment.browser.version.as_str())),
    ("adapter", |r| Value::Text(r.environment.adapter.as_ref().map(|found| adapter(found).into()))),
    ("adapter_is_software", |r| {
        let software = r.environment.adapter.as_ref().and_then(|adapter| adapter.software);
        maybe(software.map(|software| if software { "true" } else { "false" }))
    }),
    ("os", |r| text(r.environment.host.os.as_str())),
    ("cpu", |r| text(r.environment.host.cpu.as_str())),
    ("engine_version", |r| text(r.environment.engine.version.as_str())),
    ("engine_commit", |r| text(r.environment.engine.commit.as_str())),
    ("engine_variant", |r| text(r.environment.engine.variant.as_str())),
    ("status", |r| text(r.outcome.status.name())),
    ("stage", |r| maybe(r.outcome.stage.as_deref())),
    ("reason", |r| maybe(r.outcome.reason.as_deref())),
    ("expectation", |r| maybe(r.expectation.as_ref().map(|known| known.verdict.name()))),
    ("attempts", |r| Count(Some(r.attempts.into()))),
    ("duration_ms", |r| Number(Some(r.duration_ms))),
    ("synthetic_inputs", |r| text(r.outcome.synthetic_inputs.to_string())),
    ("reference", |r| maybe(r.outcome.reference.map(|reference| reference.name()))),
    ("kernel_rel_l2", |r| correctness(r, |c| c.kernel_rel_l2)),
    ("kernel_max_abs", |r| correctness(r, |c| c.kernel_max_abs)),
    ("reference_rel_l2", |r| correctness(r, |c| c.reference_rel_l2)),
    ("cosine", |r| correctness(r, |c| c.cosine)),
    ("kl", |r| correctness(r, |c| c.kl)),
    ("top1_agreement", |r| correctness(r, |c| c.top1_agreement)),
    ("generated_match", |r| correctness(r, |c| c.generated_match)),
    ("weights_fp16_bytes", |r| memory(r, |m| Some(m.weights_fp16_bytes))),
    ("weights_bytes", |r| memory(r, |m| Some(m.weights_bytes))),
    ("bpw", |r| Number(r.outcome.memory.as_ref().map(|memory| memory.bpw))),
    ("kv_bytes", |r| memory(r, |m| Some(m.kv_bytes))),
    ("gpu_peak_bytes", |r| memory(r, |m| m.gpu_peak_bytes)),
    ("wasm_heap_bytes", |r| memory(r, |m| m.wasm_heap_bytes)),
    ("threads", |r| {
        let timing = r.outcome.timing.as_ref();
        Count(timing.and_then(|timing| timing.threads).map(u64::from))
    }),
    ("tuning_hash", |r| maybe(r.outcome.tuning.as_ref().and_then(|it| it.hash.as_deref()))),
    ("load_ms", |r| timing(r, |t| Some(t.load_ms))),
    ("compile_ms", |r| timing(r, |t| Some(t.compile_ms))),
    ("median_ms", |r| timing(r, |t| Some(t.median_ms))),
    ("ci95_low_ms", |r| timing(r, |t| t.ci95_ms.map(|ends| ends[0]))),
    ("ci95_high_ms", |r| timing(r, |t| t.ci95_ms.map(|ends| ends[1]))),
    ("flags", |r| Value::Text(r.flag_names().map(Into::into))),
    ("pass_operations", |r| pass_cost(r, |cost| cost.operations)),
    ("pass_read_bytes", |r| pass_cost(r, |cost| cost.read_bytes)),
    ("pass_written_bytes", |r| pass_cost(r, |cost| cost.written_bytes)),
    ("prefill_tps", |r| timing(r, |t| t.prefill_tps)),
    ("decode_tps", |r| timing(r, |t| t.decode_tps)),
    ("energy_joules", |r| Number(r.outcome.energy.map(|energy| energy.joules))),
    ("energy_source", |r| {
        maybe(r.outcome.energy.map(|energy| match energy.source {
            record::EnergySource::Measured => "measured",
            record::EnergySource::Estimated => "estimated",
        }))
    }),
    ("repro", |r| text(r.repro.as_str())),
];
