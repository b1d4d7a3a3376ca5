//! Stands where a driver and its browser stand: `offspring FILE FILE…` holds a lock on the first file,
//! starts another of itself for the rest, and ends when a file lies beside its own that is called as it
//! is and `.end`.

use std::{env, fs::File, path::PathBuf, process::Command, thread, time::Duration};

fn main() -> std::io::Result<()> {
    let files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let (own, rest) = files.split_first().expect("a file to lock");
    let lock = File::create(own)?;
    lock.lock()?;
    if !rest.is_empty() {
        Command::new(env::current_exe()?).args(rest).spawn()?;
    }
    let end = own.with_added_extension("end");
    // A test that fails leaves nothing behind either.
    for _ in 0..3000 {
        if end.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
