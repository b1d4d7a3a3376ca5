//! One tensor of a checkpoint: where it lies, and its rows.

use super::{
    Dtype, Source, blocks,
    codes::{self, CodeType, Codes},
    quantised::Parts,
};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// Bytes that are read at once: large enough for HTTP, small enough beside a model.
pub(super) const PIECE: usize = 4 << 20;
/// So many elements of eight bytes are still counted in a u64.
const MAX_ELEMENTS: u64 = 1 << 60;

/// A tensor's entry in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct TensorInfo {
    /// Name, as Hugging Face's class has it.
    pub name: String,
    /// How elements are stored.
    pub dtype: Dtype,
    /// Sizes, row-major: the last one is the fastest.
    pub shape: Vec<usize>,
    pub(super) file: Arc<str>,
    pub(super) offset: u64,
    /// Rows of one head, where llama.cpp's converter permuted them.
    pub(super) head_rows: Option<usize>,
    /// What it is made of, where somebody has quantised it: `dtype` and the place are those of its codes.
    pub(super) parts: Option<Arc<Parts>>,
    len: usize,
}

impl TensorInfo {
    /// Checks a shape; the error is the reason alone.
    pub(super) fn new(
        name: String,
        dtype: Dtype,
        shape: &[u64],
        file: Arc<str>,
        offset: u64,
    ) -> Result<TensorInfo, String> {
        let too_large = || format!("shape {shape:?} has more elements than can be addressed");
        let sizes: Option<Vec<usize>> = shape.iter().map(|&s| usize::try_from(s).ok()).collect();
        let sizes = sizes.ok_or_else(too_large)?;
        // A size of zero counts as one here: the product of the other sizes must be bounded too.
        sizes
            .iter()
            .try_fold(1usize, |product, &size| product.checked_mul(size.max(1)))
            .filter(|&product| product <= isize::MAX as usize && product as u64 <= MAX_ELEMENTS)
            .ok_or_else(too_large)?;
        let len = sizes.iter().product();
        if len % dtype.block_len() != 0 {
            return Err(format!("{len} elements are not whole blocks of {dtype}"));
        }
        Ok(TensorInfo {
            name,
            dtype,
            shape: sizes,
            file,
            offset,
            head_rows: None,
            parts: None,
            len,
        })
    }

    /// The weight that parts make; the error is the reason alone.
    pub(super) fn in_parts(name: String, parts: Parts) -> Result<TensorInfo, String> {
        let (shape, codes) = (parts.shape.map(|size| size as u64), &parts.codes);
        let info = TensorInfo::new(name, codes.dtype, &shape, codes.file.clone(), codes.offset)?;
        Ok(TensorInfo { parts: Some(Arc::new(parts)), ..info })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of rows: the first size; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements of a row: the product of all sizes but the first.
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Stored bytes of the whole tensor.
    pub fn bytes(&self) -> u64 {
        if let Some(parts) = &self.parts {
            return parts.bytes();
        }
        (self.len / self.dtype.block_len()) as u64 * self.dtype.block_bytes() as u64
    }

    /// How its numbers are stored, in a word: their type, or by whom they were quantised.
    pub fn kind(&self) -> String {
        self.parts.as_ref().map_or_else(|| self.dtype.to_string(), |parts| parts.kind())
    }

    /// Whether its numbers have few bits and scales of their own.
    pub fn is_quantised(&self) -> bool {
        self.dtype.is_quantised() || self.parts.is_some()
    }

    /// Whether rows can be read one by one. Those of parts lie across each other.
    pub fn is_by_rows(&self) -> bool {
        self.parts.is_none()
    }

    /// Which codes stand for its numbers, where [`TensorInfo::read_codes`] has some.
    pub fn code_type(&self) -> Option<CodeType> {
        match &self.parts {
            Some(parts) => parts.code_type(),
            None => codes::of(self.dtype),
        }
    }

    /// Name of the file that holds it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The entry of another tensor that lies in the same place.
    pub(super) fn copy_named(&self, name: String) -> TensorInfo {
        TensorInfo { name, ..self.clone() }
    }

    /// Whether both entries are of the same bytes.
    pub fn is_same_place(&self, other: &TensorInfo) -> bool {
        (&self.file, self.offset, self.bytes()) == (&other.file, other.offset, other.bytes())
    }

    /// Where it begins in its file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Room for some elements. A size that the memory does not have is an error, not an abort.
    pub(super) fn room<T>(&self, elements: usize) -> Result<Vec<T>> {
        let mut room = Vec::new();
        room.try_reserve_exact(elements)
            .map_err(|_| self.refuse(format!("{elements} elements do not fit the memory")))?;
        Ok(room)
    }

    /// Stored bytes of consecutive rows of the first axis, in the order of Hugging Face's rows. For
    /// quantised types these are blocks as [`blocks`] describes them.
    ///
    /// # Errors
    /// When the rows do not exist or cannot be read, or hold a NaN or an infinity.
    pub async fn read(&self, source: &dyn Source, rows: Range<usize>) -> Result<Vec<u8>> {
        stored(source, self, elements(self, rows)?).await
    }

    /// Consecutive rows as f32; at most one piece of some MB is held beside the result.
    ///
    /// # Errors
    /// As [`TensorInfo::read`], and when the tensor holds integers.
    pub async fn read_f32(&self, source: &dyn Source, rows: Range<usize>) -> Result<Vec<f32>> {
        let elements = elements(self, rows)?;
        match &self.parts {
            // Whoever wants few rows of parts reads them all: see [`TensorInfo::is_by_rows`].
            Some(parts) => Ok(parts.f32s(source).await?[elements].to_vec()),
            None => f32s(source, self, elements).await,
        }
    }

    /// Consecutive rows as codes, of the type that [`TensorInfo::code_type`] says.
    ///
    /// # Errors
    /// As [`TensorInfo::read`], and when there are none or they are not what was said of them.
    pub async fn read_codes(&self, source: &dyn Source, rows: Range<usize>) -> Result<Codes> {
        let none = || self.refuse(format!("holds {} and no codes", self.kind()));
        let kind = self.code_type().ok_or_else(none)?;
        let Some(parts) = &self.parts else {
            return codes::in_blocks(self.dtype, &self.read(source, rows).await?).ok_or_else(none);
        };
        if rows != (0..self.rows()) {
            return Err(self.refuse("is read as a whole"));
        }
        parts.codes(kind, source).await
    }

    /// The whole tensor as f32.
    ///
    /// # Errors
    /// As [`TensorInfo::read_f32`].
    pub async fn f32s(&self, source: &dyn Source) -> Result<Vec<f32>> {
        if let Some(parts) = &self.parts {
            return parts.f32s(source).await;
        }
        self.read_f32(source, 0..self.rows()).await
    }

    /// The whole tensor as integers, booleans as 0 and 1.
    ///
    /// # Errors
    /// When it cannot be read, or does not hold integers or booleans.
    pub async fn i64s(&self, source: &dyn Source) -> Result<Vec<i64>> {
        convert(source, self, 0..self.len, |bytes, out| {
            blocks::to_i64(self.dtype, bytes, out)
                .ok_or_else(|| self.refuse(format!("holds {}, not integers", self.dtype)))
        })
        .await
    }

    pub(super) fn refuse(&self, message: impl Into<String>) -> Error {
        Error::tensor(&self.name, message)
    }
}

/// A tensor's entry as plans have it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tensor: String,
    dtype: Dtype,
    shape: Vec<u64>,
    file: Arc<str>,
    offset: u64,
    bytes: u64,
    /// Rows of one head, where they have to be put back in Hugging Face's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    head_rows: Option<usize>,
    /// What it is made of, where somebody has quantised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<Arc<Parts>>,
}

impl From<TensorInfo> for Written {
    fn from(info: TensorInfo) -> Written {
        let bytes = info.bytes();
        let TensorInfo { name: tensor, dtype, shape, file, offset, head_rows, parts, .. } = info;
        let shape = shape.into_iter().map(|size| size as u64).collect();
        Written { tensor, dtype, shape, file, offset, bytes, head_rows, parts }
    }
}

impl TryFrom<Written> for TensorInfo {
    type Error = String;

    fn try_from(written: Written) -> Result<TensorInfo, String> {
        let Written { tensor, dtype, shape, file, offset, bytes, head_rows, parts } = written;
        let wrong = |what: String| format!("tensor {tensor}: {what}");
        let info = TensorInfo::new(tensor.clone(), dtype, &shape, file, offset).map_err(wrong)?;
        if let Some(parts) = &parts {
            parts.check().map_err(wrong)?;
            if parts.shape[..] != info.shape {
                return Err(wrong(format!("its parts are not {shape:?}")));
            }
        }
        let info = TensorInfo { parts, ..info };
        if info.bytes() != bytes {
            return Err(wrong(format!("{shape:?} of {dtype} are not {bytes} bytes")));
        }
        let heads =
            |rows: usize| rows > 0 && rows.is_multiple_of(2) && info.rows().is_multiple_of(rows);
        if head_rows.is_some_and(|rows| !heads(rows)) {
            return Err(wrong("its rows are not whole heads".to_owned()));
        }
        Ok(TensorInfo { head_rows, ..info })
    }
}

/// The elements of some rows; they must be whole blocks.
fn elements(info: &TensorInfo, rows: Range<usize>) -> Result<Range<usize>> {
    if rows.start > rows.end || rows.end > info.rows() {
        return Err(info.refuse(format!(
            "rows {}..{} were asked for, it has {}",
            rows.start,
            rows.end,
            info.rows()
        )));
    }
    let elements = rows.start * info.row_len()..rows.end * info.row_len();
    let block = info.dtype.block_len();
    if elements.start % block != 0 || elements.end % block != 0 {
        return Err(info.refuse(format!(
            "rows {}..{} are not whole blocks of {} elements",
            rows.start, rows.end, block
        )));
    }
    Ok(elements)
}

/// Reads elements as f32.
async fn f32s(source: &dyn Source, info: &TensorInfo, elements: Range<usize>) -> Result<Vec<f32>> {
    convert(source, info, elements, |bytes, out| {
        let before = out.len();
        blocks::to_f32(info.dtype, bytes, out)
            .ok_or_else(|| info.refuse(format!("holds {}, not numbers", info.dtype)))?;
        // Only an f64 can be finite in the file and not in f32.
        if info.dtype == Dtype::F64 && out[before..].iter().any(|x| !x.is_finite()) {
            return Err(info.refuse("has an F64 beyond the range of f32"));
        }
        Ok(())
    })
    .await
}

/// Reads elements piece by piece and converts each piece.
async fn convert<T>(
    source: &dyn Source,
    info: &TensorInfo,
    elements: Range<usize>,
    mut piece: impl FnMut(&[u8], &mut Vec<T>) -> Result<()>,
) -> Result<Vec<T>> {
    let mut out = info.room(elements.len())?;
    // Permuted tensors are read by heads, others by blocks.
    let block = info.dtype.block_len();
    let unit = info.head_rows.map_or(block, |rows| rows * info.row_len()).max(1);
    let unit_bytes = (unit / block) as u64 * info.dtype.block_bytes() as u64;
    let step = unit * (PIECE as u64 / unit_bytes.max(1)).max(1) as usize;
    let mut start = elements.start;
    while start < elements.end {
        // Pieces end on units, wherever the first row lies.
        let end = elements.end.min((start / unit * unit).saturating_add(step));
        piece(&stored(source, info, start..end).await?, &mut out)?;
        start = end;
    }
    Ok(out)
}

/// Stored bytes of some elements, which are whole blocks and, in permuted tensors, whole rows.
async fn stored(source: &dyn Source, info: &TensorInfo, elements: Range<usize>) -> Result<Vec<u8>> {
    if info.parts.is_some() {
        return Err(info.refuse(format!("holds {}, not bytes of its own", info.kind())));
    }
    let bytes = match info.head_rows {
        None => contiguous(source, info, elements.clone()).await?,
        Some(head_rows) => permuted(source, info, elements.clone(), head_rows).await?,
    };
    if let Some(bad) = info.dtype.first_not_finite(&bytes) {
        let row = (elements.start + bad) / info.row_len().max(1);
        return Err(info.refuse(format!(
            "row {row} of {} holds a NaN or an infinity; the checkpoint is damaged",
            info.file()
        )));
    }
    Ok(bytes)
}

async fn contiguous(
    source: &dyn Source,
    info: &TensorInfo,
    elements: Range<usize>,
) -> Result<Vec<u8>> {
    let place = |element: usize| {
        let block = (element / info.dtype.block_len()) as u64;
        info.offset + block * info.dtype.block_bytes() as u64
    };
    let range = place(elements.start)..place(elements.end);
    let wanted = range.end - range.start;
    let bytes = source.read(&info.file, range).await?;
    if bytes.len() as u64 != wanted {
        return Err(Error::Read {
            file: info.file().into(),
            message: format!("{} bytes came where {wanted} were asked for", bytes.len()),
        });
    }
    Ok(bytes)
}

/// Undoes the permutation of `LlamaModel.permute` in llama.cpp's converter: within each head, row
/// `half * (n / 2) + i` was stored as row `2 * i + half`.
async fn permuted(
    source: &dyn Source,
    info: &TensorInfo,
    elements: Range<usize>,
    head_rows: usize,
) -> Result<Vec<u8>> {
    let row_len = info.row_len().max(1);
    let rows = elements.start / row_len..elements.end / row_len;
    let first = rows.start / head_rows * head_rows;
    let last = rows.end.next_multiple_of(head_rows);
    let heads = contiguous(source, info, first * row_len..last * row_len).await?;
    let row_bytes = row_len / info.dtype.block_len() * info.dtype.block_bytes();
    let mut bytes = Vec::with_capacity(rows.len() * row_bytes);
    for row in rows {
        let (head, within) = (row / head_rows * head_rows, row % head_rows);
        let (half, i) = (within / (head_rows / 2), within % (head_rows / 2));
        let at = (head + 2 * i + half - first) * row_bytes;
        bytes.extend_from_slice(&heads[at..at + row_bytes]);
    }
    Ok(bytes)
}
