//! What was measured of kernels, by adapter and by version of a browser: a file each in the user's cache,
//! `<cache>/fewbit/tuning/<browser>-<hash>.json`, in the form of [`Tuning`]. All of it can be measured again.

use crate::fetched;
use anyhow::{Context, Result};
use record::{Adapter, BrowserInfo, Tuning};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a cell measures kernels where nobody says.
pub(crate) const USUAL_BUDGET: Duration = Duration::from_secs(10);

/// Where a tuning holds: other adapters and other versions of a browser compile kernels in other ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) adapter: String,
    pub(crate) browser: String,
}

impl Place {
    pub(crate) fn of(adapter: &Adapter, browser: &BrowserInfo) -> Place {
        let Adapter { vendor, architecture, device, description, .. } = adapter;
        let told = [vendor, architecture, device, description].map(String::as_str);
        let joined = |words: &[&str]| {
            words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
        };
        Place { adapter: joined(&told), browser: joined(&[&browser.name, &browser.version]) }
    }

    /// Says in a tuning where it holds.
    pub(crate) fn stamp(&self, tuning: &mut Tuning) {
        tuning.adapter.clone_from(&self.adapter);
        tuning.browser.clone_from(&self.browser);
    }

    fn file(&self) -> String {
        let hash = Sha256::digest(format!("{}\n{}", self.browser, self.adapter));
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let browser: String = self.browser.to_lowercase().chars().map(plain).collect();
        format!("{}-{hash}.json", browser.trim_start_matches('.'))
    }
}

/// The folder of all tunings.
#[derive(Debug)]
pub(crate) struct Tunings {
    folder: PathBuf,
    /// Workers may have found something at once.
    adding: Mutex<()>,
}

impl Tunings {
    /// Those of this user.
    pub(crate) fn open() -> Result<Tunings> {
        Ok(Tunings::at(&fetched::folder()?.join("tuning")))
    }

    fn at(folder: &Path) -> Tunings {
        Tunings { folder: folder.to_owned(), adding: Mutex::default() }
    }

    /// What is known of a place, if something is.
    pub(crate) fn get(&self, place: &Place) -> Result<Option<Tuning>> {
        let path = self.folder.join(place.file());
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let known = serde_json::from_slice(&text).with_context(|| {
            format!("{} is damaged; without it kernels are measured anew", path.display())
        })?;
        Ok(Some(known))
    }

    /// Adds what was found since.
    pub(crate) fn add(&self, place: &Place, found: &Tuning) -> Result<()> {
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        // What is damaged is replaced.
        let mut all = self.get(place).ok().flatten().unwrap_or_default();
        all.extend(found.clone());
        place.stamp(&mut all);
        let path = self.folder.join(place.file());
        let write = || -> Result<()> {
            fs::create_dir_all(&self.folder)?;
            // Whoever reads it meanwhile reads all of the old one.
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&serde_json::to_vec_pretty(&all)?)?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::TunedCall;

    fn place(browser: &str, device: &str) -> Place {
        let adapter = Adapter { device: device.into(), ..Adapter::default() };
        let browser =
            BrowserInfo { name: browser.into(), version: "156.0".into(), ..BrowserInfo::default() };
        Place::of(&adapter, &browser)
    }

    fn tuning(call: &str, pick: &str) -> Tuning {
        let entry = TunedCall { call: call.into(), pick: pick.into(), ..TunedCall::default() };
        Tuning { entries: vec![entry], ..Tuning::default() }
    }

    #[test]
    fn what_is_found_is_kept_by_adapter_and_browser() {
        let folder = tempfile::tempdir().unwrap();
        let tunings = Tunings::at(&folder.path().join("tuning"));
        let here = place("chrome", "H200");
        assert_eq!(tunings.get(&here).unwrap(), None);
        tunings.add(&here, &tuning("b", "x")).unwrap();
        tunings.add(&here, &tuning("a", "y")).unwrap();
        tunings.add(&here, &tuning("b", "z")).unwrap();
        let known = tunings.get(&here).unwrap().unwrap();
        let picks: Vec<_> = known.entries.iter().map(|it| (&*it.call, &*it.pick)).collect();
        assert_eq!(picks, [("a", "y"), ("b", "z")]);
        assert_eq!((&*known.adapter, &*known.browser), ("H200", "chrome 156.0"));
        for other in [place("firefox", "H200"), place("chrome", "H100")] {
            assert_eq!(tunings.get(&other).unwrap(), None);
        }
        assert_eq!(folder.path().join("tuning").read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_says_so_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let tunings = Tunings::at(folder.path());
        let here = place("../chrome/", "H200");
        fs::write(folder.path().join(here.file()), "{").unwrap();
        assert!(tunings.get(&here).unwrap_err().to_string().contains("measured anew"));
        tunings.add(&here, &tuning("a", "x")).unwrap();
        assert_eq!(tunings.get(&here).unwrap().unwrap().entries.len(), 1);
    }
}
