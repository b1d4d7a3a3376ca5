use super::*;
use crate::{device::Gpu, quant::RoundToNearest, tensor::Tensor, testing::normal};

/// Three groups a row: where each row is a shard, scales of one word belong to two of them.
#[test]
fn shards_of_one_row_hold_what_one_shard_holds() {
    let (rows, columns) = (5, 72);
    let values = normal(4, rows * columns);
    let device = Device::cpu();
    for format in Format::all() {
        let row_bytes = Layout::Chunks.code_words(format, 3) as u64 * 4;
        let build = |limit, whole: bool| {
            let mut builder = MatrixBuilder::in_shards(&device, "w", rows, columns, format, limit);
            let mut row = 0;
            while row < rows {
                let piece = if whole { rows } else { builder.piece_rows() };
                let values = &values[row * columns..(row + piece) * columns];
                builder.push_f32(values, &RoundToNearest).unwrap();
                row += piece;
            }
            builder.finish()
        };
        let whole = build(u64::MAX, true);
        let by_row = build(31 * row_bytes / 16, false);
        assert_eq!((whole.shards.len(), by_row.shards.len()), (1, rows));
        let [mut a, mut b] = [vec![0.0; 96], vec![0.0; 96]];
        for row in 0..rows {
            whole.dequantise_row(row, &mut a);
            by_row.dequantise_row(row, &mut b);
            assert_eq!(a, b, "{format}, row {row}");
            // As an artefact, which has all rows in one piece, gives them to a shard.
            let (groups, shard) = (whole.groups(), &by_row.shards[row]);
            let scales = whole.shards[0].scales.cpu();
            let groups = groups * row..groups * (row + 1);
            let scales = Layout::Chunks.scales_of(format, scales, groups);
            assert_eq!(scales, shard.scales.cpu(), "{format}, row {row}");
        }
    }
}

/// Ten chunks a row, the last of which has padding, are no whole number of any group but the smallest.
const COLUMNS: usize = 300;
const ROWS: usize = 80;

/// A matrix that was given in such pieces, in shards of 32 rows or in one.
fn in_pieces(device: &Device, format: Format, pieces: &[usize], whole: bool) -> Matrix {
    let values = normal(5, ROWS * COLUMNS);
    let row_bytes = Layout::Chunks.code_words(format, 10) as u64 * 4;
    let limit = if whole { u64::MAX } else { 40 * row_bytes };
    let mut builder = MatrixBuilder::in_shards(device, "w", ROWS, COLUMNS, format, limit);
    let mut row = 0;
    for piece in pieces {
        let values = &values[row * COLUMNS..(row + piece) * COLUMNS];
        builder.push_f32(values, &RoundToNearest).unwrap();
        row += piece;
    }
    builder.finish()
}

fn rows(matrix: &Matrix) -> Vec<f32> {
    let mut values = vec![f32::NAN; matrix.rows * matrix.chunks() * CHUNK];
    for (row, values) in values.chunks_exact_mut(matrix.chunks() * CHUNK).enumerate() {
        matrix.dequantise_row(row, values);
    }
    values
}

#[test]
fn what_is_packed_is_what_was_given() {
    let values = normal(5, ROWS * COLUMNS);
    for format in Format::all() {
        let matrix = in_pieces(&Device::cpu(), format, &[ROWS], true);
        let found = rows(&matrix);
        let (mut given, mut padding) = (Vec::new(), Vec::<f32>::new());
        for row in found.chunks_exact(320) {
            given.extend(&row[..COLUMNS]);
            padding.extend(&row[COLUMNS..]);
        }
        assert!(padding.iter().all(|value| *value == 0.0), "{format}");
        // A step of b bits over weights that reach to ±4 or so.
        let bound = match format.bits() {
            32 => 0.0,
            16 => 1e-3,
            bits => 2.2 * 0.5f64.powi(bits as i32),
        };
        let error = crate::testing::rel_l2(&given, &values);
        assert!(error <= bound, "{format}: {error}");
    }
}

#[test]
fn pieces_may_end_anywhere_and_go_across_shards() {
    let device = Device::cpu();
    for format in Format::all() {
        let whole = rows(&in_pieces(&device, format, &[ROWS], true));
        // A word of two scales is written whole, so pieces of ten groups a row begin in even ones.
        for pieces in [&[80][..], &[4, 76], &[32, 32, 16], &[32, 40, 8], &[8, 8, 64]] {
            let matrix = in_pieces(&device, format, pieces, false);
            let shards = matrix.shards.iter().map(|shard| (shard.first, shard.rows));
            assert!(shards.eq([(0, 32), (32, 32), (64, 16)]), "{format}");
            assert!(rows(&matrix) == whole, "{format} in {pieces:?}");
        }
    }
}

#[test]
fn a_piece_ends_with_its_shard_its_matrix_or_after_some_megabytes() {
    let device = Device::cpu();
    let next = |rows, columns, limit_rows: u64, done: usize| {
        let limit = limit_rows * columns as u64 * 4;
        let mut builder = MatrixBuilder::in_shards(&device, "w", rows, columns, Format::F32, limit);
        builder.push_f32(&vec![0.0; done * columns], &RoundToNearest).unwrap();
        builder.piece_rows()
    };
    assert_eq!([0, 5, 32, 70].map(|done| next(80, 32, 40, done)), [32, 27, 32, 10]);
    assert_eq!(next(80, 32, 1000, 5), 75);
    assert_eq!([1 << 14, 1 << 15, 1 << 16].map(|columns| next(80, columns, 80, 0)), [64, 32, 32]);
}

#[test]
#[should_panic(expected = "end where words of scales do")]
fn more_rows_than_there_are_is_refused() {
    let device = Device::cpu();
    let mut builder = MatrixBuilder::new(&device, "w", 5, 32, Format::F32);
    for _ in 0..2 {
        builder.push_f32(&[0.0; 3 * 32], &RoundToNearest).unwrap();
    }
}

#[test]
fn bytes_are_those_of_the_plan() {
    let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    for device in [Device::cpu(), Device::Gpu(gpu)] {
        for format in Format::all() {
            let planned = Layout::Chunks.bytes(format, ROWS, COLUMNS);
            let builder = MatrixBuilder::new(&device, "w", ROWS, COLUMNS, format);
            assert_eq!(builder.bytes(), planned, "{format}");
            let matrix = in_pieces(&device, format, &[ROWS], false);
            assert_eq!(matrix.bytes(), planned, "{format}");
            assert_eq!(matrix.weights(), (ROWS * COLUMNS) as u64);
        }
    }
}

/// Codes and scales of each shard, wherever they are.
fn words(device: &Device, matrix: Matrix) -> Vec<[Vec<u32>; 2]> {
    let of = |words| match words {
        Words::Cpu(words) => words,
        Words::Gpu(buffer) => {
            let tensor = Tensor::from_gpu(&[buffer.capacity() as usize / 4], buffer);
            pollster::block_on(device.read_u32(&tensor)).unwrap()
        }
    };
    let shards = Rc::try_unwrap(matrix.shards).expect("the matrix was not cloned");
    shards.into_iter().map(|shard| [of(shard.codes), of(shard.scales)]).collect()
}

#[test]
fn a_gpu_is_given_the_words_that_main_memory_holds() {
    let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    let devices = [Device::cpu(), Device::Gpu(gpu)];
    for format in Format::all() {
        let [host, gpu] = devices
            .each_ref()
            .map(|device| words(device, in_pieces(device, format, &[8, 8, 40, 24], false)));
        assert!(host == gpu, "{format}");
    }
}
