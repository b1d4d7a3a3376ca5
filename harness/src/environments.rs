//! Environments, each in memory once: ten thousand records have a handful of them, with all their
//! limits and features.

use record::{Environment, Record};
use std::sync::Arc;

/// The environments that were seen.
#[derive(Debug, Default)]
pub struct Environments(Vec<Arc<Environment>>);

impl Environments {
    /// The one that equals `environment`.
    pub fn share(&mut self, environment: Environment) -> Arc<Environment> {
        // The latest are the likeliest.
        if let Some(known) = self.0.iter().rev().find(|known| ***known == environment) {
            return Arc::clone(known);
        }
        let new = Arc::new(environment);
        self.0.push(Arc::clone(&new));
        new
    }

    /// A record that was read, with its environment shared.
    pub fn shared(&mut self, mut record: Record) -> Record {
        let environment = Arc::unwrap_or_clone(std::mem::take(&mut record.environment));
        record.environment = self.share(environment);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::record;
    use record::Status;

    #[test]
    fn equal_environments_are_one() {
        let mut environments = Environments::default();
        let [a, b] =
            [Status::Pass, Status::Fail].map(|status| environments.shared(record("r", status)));
        assert!(Arc::ptr_eq(&a.environment, &b.environment));
        let mut other = record("r", Status::Pass);
        Arc::make_mut(&mut other.environment).host.os = "another".into();
        let other = environments.shared(other);
        assert_eq!(other.environment.host.os, "another");
        assert!(!Arc::ptr_eq(&a.environment, &other.environment));
    }
}
