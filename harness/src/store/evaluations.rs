//! Evaluations, so that what few bits cost can be drawn when several have been made.
//!
//! They lie in a folder beside the database (`records.sqlite.evaluations`), a file of JSON each. Of one model in one
//! precision on one text the latest is kept. Files of other engines may be put there: they have no `precision` and say
//! in `format` what the engine calls it.

use super::beside::{Beside, rfc3339};
use anyhow::{Result, anyhow};
use jiff::Timestamp;
use matrix::view::precision::Evaluation;
use std::path::{Path, PathBuf};

/// Where evaluations are kept.
#[derive(Clone, Debug)]
pub struct Evaluations(Beside);

impl Evaluations {
    /// Those beside the database that is named, or beside the default one.
    pub fn of(database: Option<&Path>) -> Result<Evaluations> {
        Ok(Evaluations(Beside::of(database, ".evaluations")?))
    }

    /// Keeps an evaluation of now, and forgets those that it stands for; gives the file.
    pub fn put(&self, evaluation: Evaluation) -> Result<PathBuf> {
        let now = Timestamp::now();
        let kept = Evaluation { at: rfc3339(now), ..evaluation };
        let path = self.0.put(&kept, now, "evaluation")?;
        let old = self.0.read::<Evaluation>().into_iter().filter(|(file, old)| {
            *file != path && old.as_ref().is_ok_and(|old| stands_for(&kept, old))
        });
        self.0.forget(old.map(|(file, _)| file));
        Ok(path)
    }

    /// All of them, and what there is that is none.
    pub fn all(&self) -> (Vec<Evaluation>, Vec<anyhow::Error>) {
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for (path, evaluation) in self.0.read::<Evaluation>() {
            match evaluation {
                Ok(it) if it.fidelity.is_none() && it.likeness.is_none() => broken.push(anyhow!(
                    "{} is left out: it has neither a fidelity nor a likeness",
                    path.display()
                )),
                Ok(evaluation) => found.push(evaluation),
                Err(error) => broken.push(error.context(format!("{} is left out", path.display()))),
            }
        }
        (found, broken)
    }
}

/// Whether both say the same of one model on one text, and one was made later.
fn stands_for(new: &Evaluation, old: &Evaluation) -> bool {
    let what = |it: &Evaluation| {
        let Evaluation { model, reference, precision, text, .. } = it.clone();
        (model, reference, precision, text, it.compared())
    };
    old.precision.is_some() && what(new) == what(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Fidelity;
    use std::fs;

    fn own(precision: &str, kl: f64) -> Evaluation {
        Evaluation {
            engine: "fewbit 0.1.0".to_owned(),
            precision: Some(precision.parse().unwrap()),
            fidelity: Some(Fidelity { tokens: 64, kl, ..Fidelity::default() }),
            ..Evaluation::default()
        }
    }

    fn kept(folder: &Path) -> Evaluations {
        Evaluations::of(Some(&folder.join("records.sqlite"))).unwrap()
    }

    #[test]
    fn the_latest_of_a_precision_is_kept_and_those_of_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let evaluations = kept(folder.path());
        assert_eq!(evaluations.all().0, []);
        for (precision, kl) in [("4", 0.1), ("4 kv=4", 0.2), ("4", 0.3)] {
            let file = evaluations.put(own(precision, kl)).unwrap();
            assert!(file.starts_with(folder.path().join("records.sqlite.evaluations")), "{file:?}");
        }
        let peer = r#"{"at": "2026-01-02T03:04:05Z", "engine": "llama.cpp 0.3.36", "model": "m", "reference": "m",
            "format": "Q4_K_M", "bpw": 4.8, "weights_bytes": 1,
            "cache": {"format": "16", "is_whole": true, "token_bytes": 1},
            "text": {"name": "t", "context": 8}, "fidelity": {"tokens": 64, "kl": 0.1, "kl_p99": 1, "top1": 0.9,
            "perplexity": 3, "reference_perplexity": 2.5}}"#;
        let beside = folder.path().join("records.sqlite.evaluations");
        fs::write(beside.join("peer.json"), peer).unwrap();
        evaluations.put(own("3", 0.5)).unwrap();
        let (all, broken) = evaluations.all();
        assert!(broken.is_empty(), "{broken:?}");
        let found: Vec<(String, f64)> = all.iter().map(|it| (it.name(), it.loss())).collect();
        let named = |name: &str, kl| (name.to_owned(), kl);
        let wanted = [
            named("Q4_K_M", 0.1),
            named("3-bit", 0.5),
            named("4-bit", 0.3),
            named("4-bit kv=4", 0.2),
        ];
        assert_eq!(found, wanted);
        assert!(all[0].is_peer() && !all[1].is_peer() && all[1].at.ends_with('Z'));
    }

    #[test]
    fn what_is_no_evaluation_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let evaluations = kept(folder.path());
        let file = evaluations.put(own("4", f64::NAN)).unwrap();
        fs::write(file.with_file_name("9.json"), "{\"at\":").unwrap();
        fs::write(file.with_file_name("9.part"), "").unwrap();
        let (all, broken) = evaluations.all();
        assert!(all.len() == 1 && all[0].loss().is_nan());
        let [error] = &broken[..] else { panic!("{broken:?}") };
        assert!(format!("{error:#}").contains("9.json is left out: is no report"), "{error:#}");
        let empty = Evaluation { fidelity: None, ..own("4", 0.1) };
        fs::write(file.with_file_name("9.json"), serde_json::to_string(&empty).unwrap()).unwrap();
        assert!(evaluations.all().1[0].to_string().contains("neither a fidelity nor a likeness"));
    }
}
