//! Jinja as transformers sets it up for chat templates (`utils/chat_template_utils.py`).

use minijinja::{Environment, Error, ErrorKind, Value, value::Kwargs};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::{collections::BTreeMap, io};

/// Steps after which a template is given up: those in use take some hundred a message.
const MAX_STEPS: u64 = 10_000_000;

/// The prompt of `messages`, behind which the model's answer goes. `names` are what the template may
/// write besides: special tokens by their role, like `bos_token`. `now` is an RFC 3339 time in UTC.
pub(super) fn render(
    source: &str,
    messages: &serde_json::Value,
    names: &BTreeMap<String, String>,
    now: &str,
) -> Result<String, Error> {
    let mut jinja = Environment::new();
    jinja.set_trim_blocks(true);
    jinja.set_lstrip_blocks(true);
    jinja.set_fuel(Some(MAX_STEPS));
    jinja.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    jinja.add_filter("tojson", to_json);
    jinja.add_function("raise_exception", |message: String| refuse(message));
    let now = now.to_owned();
    jinja.add_function("strftime_now", move |format: String| date(&now, &format));
    let mut context: BTreeMap<&str, Value> =
        names.iter().map(|(name, token)| (name.as_str(), token.into())).collect();
    context.insert("messages", Value::from_serialize(messages));
    context.insert("add_generation_prompt", true.into());
    context.insert("tools", ().into());
    context.insert("documents", ().into());
    jinja.template_from_str(&without_marks(source))?.render(context)
}

fn refuse(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// `{% generation %}` marks what an assistant said, for training. Nothing is trained here: the block
/// becomes one that does nothing.
fn without_marks(source: &str) -> String {
    let mut parts = source.split("{%");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let word = part.trim_start_matches(['-', '+']).trim_start();
        let sign = &part[..part.len() - word.len()];
        let marks = [("generation", " if true"), ("endgeneration", " endif")];
        let replaced = marks.iter().find_map(|(mark, block)| {
            let rest = word.strip_prefix(mark)?;
            let end = rest.trim_start().trim_start_matches('-');
            end.starts_with("%}").then(|| format!("{}{block}{rest}", sign.trim_end()))
        });
        out.push_str("{%");
        out.push_str(replaced.as_deref().unwrap_or(part));
    }
    out
}

/// Python's `datetime.strftime` of the time of the question.
fn date(now: &str, format: &str) -> Result<String, Error> {
    let wrong = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let now: jiff::Timestamp = now.parse().map_err(wrong)?;
    jiff::fmt::strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)).map_err(wrong)
}

/// Python's `json.dumps`: Jinja's own filter would escape what is special in HTML.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson with ensure_ascii"));
    }
    let indent = options.get::<Option<usize>>("indent")?;
    options.assert_all_used()?;
    match indent {
        Some(width) => dump(&value, PrettyFormatter::with_indent(" ".repeat(width).as_bytes())),
        None => dump(&value, OneLine),
    }
}

fn dump(value: &Value, formatter: impl Formatter) -> Result<String, Error> {
    let mut out = Vec::new();
    let done = value.serialize(&mut Serializer::with_formatter(&mut out, formatter));
    let wrong = |error: String| Error::new(ErrorKind::BadSerialization, error);
    done.map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(out).map_err(|error| wrong(error.to_string()))
}

/// JSON in one line, with a space behind each comma and colon.
struct OneLine;

impl OneLine {
    fn comma<W: ?Sized + io::Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        OneLine::comma(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        OneLine::comma(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
