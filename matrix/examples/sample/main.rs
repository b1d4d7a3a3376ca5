//! Renders both reports from example data, which nobody measured, into a folder.
//!
//! `cargo run -p matrix --example sample -- FOLDER [COPIES]`: with COPIES the cases are repeated
//! under new names, to see how the pages behave with many records.

mod records;

use std::{env, error::Error, fs, path::PathBuf, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("say in which folder to write")?);
    let copies = arguments.next().map_or(Ok(1), |text| text.parse::<usize>())?;
    let sample = records::records();
    let mut records = sample.clone();
    for copy in 1..copies {
        records.extend(sample.iter().cloned().map(|mut record| {
            record.cell.case = format!("{}-{copy}", record.cell.case);
            record
        }));
    }
    fs::create_dir_all(&folder)?;
    let pages: [(_, fn(&_) -> _); 2] = [
        ("compatibility.html", |records: &Vec<_>| {
            matrix::compatibility(records).map(|page| page.to_string())
        }),
        ("performance.html", |records: &Vec<_>| {
            matrix::performance(records).map(|page| page.to_string())
        }),
    ];
    for (name, render) in pages {
        let start = Instant::now();
        let html = render(&records)?;
        let (count, bytes, time) = (records.len(), html.len(), start.elapsed());
        println!("{name}: {count} records, {bytes} bytes, {time:.0?}");
        fs::write(folder.join(name), html)?;
    }
    Ok(())
}
