//! One entry of a file: its conditions, and where they hold.

use super::version::Range;
use anyhow::{Result, ensure};
use record::{Backend, Bits, Browser, Class, Record, Status};
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer, SeqAccess},
};
use std::{fmt, marker::PhantomData};

/// What is expected where, and why.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(default)]
    pub class: Many<Class>,
    #[serde(default)]
    pub case: Many<String>,
    #[serde(default)]
    pub bits: Many<Bits>,
    #[serde(default)]
    pub backend: Many<Backend>,
    #[serde(default)]
    pub browser: Many<Browser>,
    pub version: Option<Range>,
    pub os: Option<String>,
    pub adapter: Option<String>,
    pub status: Many<Status>,
    pub reason: String,
    pub link: Option<String>,
}

impl Entry {
    /// Refuses what can be parsed and makes no sense.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.status.0.is_empty(), "status names what is expected, such as \"fail\"");
        ensure!(!self.reason.trim().is_empty(), "reason says in a line why it is expected");
        Ok(())
    }

    /// Whether all conditions hold.
    pub fn applies_to(&self, record: &Record) -> bool {
        let (cell, environment) = (&record.cell, &record.environment);
        let version =
            self.version.as_ref().is_none_or(|range| range.has(&environment.browser.version));
        let os = self.os.as_ref().is_none_or(|part| contains(&environment.host.os, part));
        let adapter = self.adapter.as_ref().is_none_or(|part| {
            environment.adapter.as_ref().is_some_and(|adapter| {
                [&adapter.vendor, &adapter.architecture, &adapter.device, &adapter.description]
                    .iter()
                    .any(|text| contains(text, part))
            })
        });
        self.class.allows(&cell.class)
            && self.case.allows(&cell.case)
            && self.bits.allows(&cell.precision.bits)
            && self.backend.allows(&cell.backend)
            && self.browser.allows(&cell.browser)
            && version
            && os
            && adapter
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

impl fmt::Display for Entry {
    /// The conditions that a reader finds the entry by, and the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            self.class.names(|class| class.to_string()),
            self.case.names(String::clone),
            self.bits.names(|bits| format!("{bits}-bit")),
            self.backend.names(|backend| backend.to_string()),
            self.browser.names(|browser| browser.to_string()),
        ];
        let said: Vec<_> = lists.into_iter().flatten().collect();
        let conditions = if said.is_empty() { "any cell".to_owned() } else { said.join(" ") };
        write!(f, "{conditions}: {}", self.reason)
    }
}

/// A value, or a list of them; an absent list allows everything.
#[derive(Clone, Debug)]
pub struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Many<T> {
        Many(Vec::new())
    }
}

impl<T: PartialEq> Many<T> {
    /// Whether the value is on the list.
    pub fn has(&self, value: &T) -> bool {
        self.0.contains(value)
    }

    fn allows(&self, value: &T) -> bool {
        self.0.is_empty() || self.has(value)
    }

    fn names(&self, name: impl Fn(&T) -> String) -> Option<String> {
        let names: Vec<_> = self.0.iter().map(name).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Many<T>, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or a list of values")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Many<T>, E> {
                T::deserialize(text.into_deserializer()).map(|value| Many(vec![value]))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Many<T>, E> {
                let number = u64::try_from(number).map_err(|_| E::custom("a negative number"))?;
                T::deserialize(number.into_deserializer()).map(|value| Many(vec![value]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(Many(value)) = list.next_element()? {
                    values.extend::<Vec<T>>(value);
                }
                match values.is_empty() {
                    true => Err(de::Error::custom("an empty list; leave the condition out")),
                    false => Ok(Many(values)),
                }
            }
        }

        deserializer.deserialize_any(Visitor(PhantomData))
    }
}
