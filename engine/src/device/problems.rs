//! What a GPU refused, and whether it is still there: both are told when nobody waits for them.

use crate::error::{Error, Result};
use std::sync::{Arc, Mutex};

/// What was told since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct Problems(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    refused: Vec<String>,
    lost: Option<String>,
}

impl Problems {
    /// Listens to `device`.
    pub(super) fn of(device: &wgpu::Device) -> Arc<Problems> {
        let problems = Arc::<Problems>::default();
        let note = Arc::clone(&problems);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note.told(|told| told.refused.push(error.to_string()));
        }));
        let note = Arc::clone(&problems);
        device.set_device_lost_callback(move |reason, message| {
            let text = match message.is_empty() {
                true => format!("{reason:?}"),
                false => message,
            };
            note.told(|told| told.lost = Some(text));
        });
        problems
    }

    /// Fails with what was refused, once, and with the loss of the device for ever.
    pub(super) fn check(&self, during: &str) -> Result<()> {
        self.told(|told| match &told.lost {
            Some(message) => {
                Err(Error::Lost { during: during.to_owned(), message: message.clone() })
            }
            None if told.refused.is_empty() => Ok(()),
            None => {
                Err(Error::device(during, told.refused.drain(..).collect::<Vec<_>>().join("; ")))
            }
        })
    }

    /// Forgets what was refused.
    pub(super) fn forget(&self) {
        self.told(|told| told.refused.clear());
    }

    fn told<T>(&self, act: impl FnOnce(&mut Told) -> T) -> T {
        act(&mut self.0.lock().expect("no panic while noting"))
    }
}
