//! The variables of a `model.bin`, still in the bytes of the file.

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::Dtype;
use std::{borrow::Cow, collections::BTreeMap};

/// The version of the file format that is read here; it has been the same since 2020.
const VERSION: u32 = 6;
/// More than any model has: a count above it is a damaged file.
const MOST: u32 = 1 << 20;

/// One variable.
#[derive(Clone, Debug)]
pub(super) struct Variable<'a> {
    pub shape: Vec<usize>,
    kind: Kind,
    bytes: &'a [u8],
}

/// CTranslate2's `DataType`, by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    I8,
    I16,
    I32,
    F16,
    BF16,
}

/// A tensor as safetensors has it.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Cow<'a, [u8]>,
}

/// All variables of a file by name, aliases included.
#[derive(Clone, Debug)]
pub(super) struct Variables<'a> {
    pub specification: String,
    by_name: BTreeMap<String, Variable<'a>>,
}

impl<'a> Variables<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Variables<'a>> {
        let mut cursor = Cursor { rest: bytes };
        let version = cursor.u32()?;
        ensure!(version == VERSION, "it has version {version}; version {VERSION} can be read");
        let specification = cursor.text()?;
        cursor.u32().context("the revision")?;
        let mut by_name = BTreeMap::new();
        for _ in 0..cursor.count()? {
            let name = cursor.text()?;
            let variable = cursor.variable().with_context(|| format!("the variable {name}"))?;
            ensure!(by_name.insert(name.clone(), variable).is_none(), "it has {name} twice");
        }
        for _ in 0..cursor.count()? {
            let (alias, name) = (cursor.text()?, cursor.text()?);
            let Some(variable) = by_name.get(&name).cloned() else {
                bail!("{alias} stands for {name}, which is not there");
            };
            by_name.insert(alias, variable);
        }
        ensure!(cursor.rest.is_empty(), "{} bytes follow its end", cursor.rest.len());
        Ok(Variables { specification, by_name })
    }

    pub(super) fn get(&self, name: &str) -> Result<&Variable<'a>> {
        self.by_name.get(name).with_context(|| format!("model.bin has no variable {name}"))
    }

    /// How many of `start0/…`, `start1/…` and so on there are.
    pub(super) fn layers(&self, start: &str) -> usize {
        let has = |i: &usize| {
            let start = format!("{start}{i}/");
            self.by_name.range(start.clone()..).next().is_some_and(|(n, _)| n.starts_with(&start))
        };
        (0..).take_while(has).count()
    }

    /// A single whole number.
    pub(super) fn number(&self, name: &str) -> Result<i64> {
        let variable = self.get(name)?;
        match (variable.kind, variable.bytes) {
            (Kind::I8, [b]) => Ok((*b as i8).into()),
            (Kind::I16, [a, b]) => Ok(i16::from_le_bytes([*a, *b]).into()),
            (Kind::I32, [a, b, c, d]) => Ok(i32::from_le_bytes([*a, *b, *c, *d]).into()),
            (kind, _) => bail!("{name} is {kind:?} {:?}, not a number", variable.shape),
        }
    }

    /// A tensor of weights: floating-point numbers as they are, int8 divided by its scales.
    pub(super) fn tensor(&self, name: &str) -> Result<Stored<'a>> {
        let variable = self.get(name)?;
        let (dtype, bytes) = match variable.kind {
            Kind::F32 => (Dtype::F32, Cow::Borrowed(variable.bytes)),
            Kind::F16 => (Dtype::F16, Cow::Borrowed(variable.bytes)),
            Kind::BF16 => (Dtype::BF16, Cow::Borrowed(variable.bytes)),
            Kind::I8 => {
                let scales = self.get(&format!("{name}_scale"))?.f32s()?;
                let values = multiplied_out(variable, &scales)
                    .with_context(|| format!("the int8 variable {name}"))?;
                (Dtype::F32, Cow::Owned(values.into_iter().flat_map(f32::to_le_bytes).collect()))
            }
            kind => bail!("{name} holds {kind:?}, which are no weights"),
        };
        Ok(Stored { dtype, shape: variable.shape.clone(), bytes })
    }
}

/// `w = q / scale`, one scale a row or one for all.
fn multiplied_out(variable: &Variable<'_>, scales: &[f32]) -> Result<Vec<f32>> {
    let rows = variable.shape.first().copied().unwrap_or(1);
    ensure!(scales.len() == 1 || scales.len() == rows, "{} scales for {rows} rows", scales.len());
    let columns = (variable.bytes.len() / rows.max(1)).max(1);
    let rows = variable.bytes.chunks(columns).enumerate();
    Ok(rows
        .flat_map(|(row, bytes)| {
            let scale = scales[row.min(scales.len() - 1)];
            bytes.iter().map(move |b| f32::from(*b as i8) / scale)
        })
        .collect())
}

impl Variable<'_> {
    fn f32s(&self) -> Result<Vec<f32>> {
        let pairs = || self.bytes.as_chunks::<2>().0.iter();
        Ok(match self.kind {
            Kind::F32 => {
                self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            }
            Kind::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Kind::BF16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            kind => bail!("scales are {kind:?}"),
        })
    }
}

impl Stored<'_> {
    /// Part `index` of `count` equal ones along the first axis: fused projections are stored so.
    pub(super) fn part(&self, index: usize, count: usize) -> Result<Stored<'static>> {
        let rows = self.shape.first().copied().unwrap_or(0);
        ensure!(rows > 0 && rows % count == 0, "{rows} rows are not {count} equal parts");
        let mut shape = self.shape.clone();
        shape[0] = rows / count;
        let length = self.bytes.len() / count;
        let bytes = self.bytes[index * length..(index + 1) * length].to_vec();
        Ok(Stored { dtype: self.dtype, shape, bytes: bytes.into() })
    }
}

/// What is left of the file.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            bail!("it is cut off: {count} bytes are wanted and {} are left", self.rest.len());
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn count(&mut self) -> Result<u32> {
        let count = self.u32()?;
        ensure!(count <= MOST, "it is damaged: {count} entries are too many");
        Ok(count)
    }

    fn text(&mut self) -> Result<String> {
        let length = u16::from_le_bytes(self.array()?);
        let bytes = self.take(length.into())?;
        let bytes = bytes.strip_suffix(&[0]).context("it is damaged: a name does not end in 0")?;
        Ok(std::str::from_utf8(bytes).context("it is damaged: a name is not UTF-8")?.to_owned())
    }

    fn variable(&mut self) -> Result<Variable<'a>> {
        let [rank] = self.array()?;
        let sizes = (0..rank).map(|_| Ok(self.u32()? as usize));
        let shape = sizes.collect::<Result<Vec<usize>>>()?;
        let [kind] = self.array()?;
        let (kind, width) = match kind {
            0 => (Kind::F32, 4),
            1 => (Kind::I8, 1),
            2 => (Kind::I16, 2),
            3 => (Kind::I32, 4),
            4 => (Kind::F16, 2),
            5 => (Kind::BF16, 2),
            _ => bail!("its type {kind} is unknown"),
        };
        let length = self.u32()? as usize;
        let wanted = shape.iter().try_fold(width, |bytes: usize, size| bytes.checked_mul(*size));
        ensure!(wanted == Some(length), "{shape:?} of {kind:?} is not {length} bytes");
        Ok(Variable { shape, kind, bytes: self.take(length)? })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
    }

    /// A variable: name, sizes, number of the type, bytes.
    pub(crate) type Entry = (String, Vec<u32>, u8, Vec<u8>);

    pub(crate) fn file(specification: &str, entries: &[Entry], aliases: &[[&str; 2]]) -> Vec<u8> {
        let mut bytes = [&6u32.to_le_bytes()[..], &text(specification), &[3, 0, 0, 0]].concat();
        bytes.extend((entries.len() as u32).to_le_bytes());
        for (name, shape, kind, data) in entries {
            bytes.extend(text(name));
            bytes.push(shape.len() as u8);
            bytes.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
            bytes.push(*kind);
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(data);
        }
        bytes.extend((aliases.len() as u32).to_le_bytes());
        bytes.extend(aliases.iter().flatten().flat_map(|name| text(name)));
        bytes
    }

    fn small() -> Vec<u8> {
        let scales = [2.0f32, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let entries = [
            ("a/weight".to_owned(), vec![2, 3], 1, vec![2, 4, 0xFE, 4, 8, 0xFC]),
            ("a/weight_scale".to_owned(), vec![2], 0, scales),
            ("heads".to_owned(), vec![], 2, vec![6, 0]),
        ];
        file("Spec", &entries, &[["b/weight", "a/weight"]])
    }

    #[test]
    fn int8_is_divided_by_the_scale_of_its_row() {
        let bytes = small();
        let variables = Variables::parse(&bytes).unwrap();
        assert_eq!(variables.specification, "Spec");
        assert_eq!(variables.number("heads").unwrap(), 6);
        let tensor = variables.tensor("a/weight").unwrap();
        assert_eq!((tensor.dtype, &tensor.shape[..]), (Dtype::F32, &[2, 3][..]));
        let values: Vec<f32> =
            tensor.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values, [1.0, 2.0, -1.0, 1.0, 2.0, -1.0]);
        let second = tensor.part(1, 2).unwrap();
        assert_eq!((&second.shape[..], second.bytes.len()), (&[1, 3][..], 12));
        assert!(tensor.part(0, 3).is_err());
    }

    #[test]
    fn an_alias_is_the_variable_it_stands_for() {
        let bytes = small();
        let variables = Variables::parse(&bytes).unwrap();
        assert_eq!(variables.get("b/weight").unwrap().shape, [2, 3]);
        let error = variables.tensor("b/weight").unwrap_err().to_string();
        assert!(error.contains("no variable b/weight_scale"), "{error}");
        let missing = file("Spec", &[], &[["b", "a"]]);
        let error = Variables::parse(&missing).unwrap_err().to_string();
        assert!(error.contains("b stands for a"), "{error}");
    }

    #[test]
    fn every_cut_and_every_wrong_count_is_refused() {
        let bytes = small();
        for end in 0..bytes.len() {
            assert!(Variables::parse(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
        assert!(Variables::parse(&[&bytes[..], &[0]].concat()).is_err());
        for (entry, said) in [
            (("x".to_owned(), vec![2], 9, vec![0; 2]), "type 9 is unknown"),
            (("x".to_owned(), vec![2], 0, vec![0; 4]), "[2] of F32 is not 4 bytes"),
            (("x".to_owned(), vec![u32::MAX; 3], 0, vec![]), "is not 0 bytes"),
        ] {
            let bytes = file("Spec", &[entry], &[]);
            let error = format!("{:#}", Variables::parse(&bytes).unwrap_err());
            assert!(error.contains("the variable x") && error.contains(said), "{error}");
        }
        let mut newer = bytes;
        newer[0] = 7;
        assert!(Variables::parse(&newer).unwrap_err().to_string().contains("version 7"));
    }
}
