//! Asks a page who it is and whether its kernels are right, before its first cell.
//!
//! A self-test compiles for half a minute on a software adapter. A session that follows one of the same
//! browser, on the same adapter and with the same engine, would find what that one found: where that was
//! nothing wrong, it is only asked who it is.

use super::{
    Runner,
    progress::show,
    seat::Seat,
    worker::{PATIENCE, Worker, mismatch},
};
use crate::{session::Fault, ui::Bar};
use record::{Answer, Cell, Event, PageReport, Request, Status};
use std::time::Duration;

/// The least that a page is allowed for its self-test, whatever a cell is: a software adapter compiles
/// for most of a minute, and for several where machines are shared.
const SELF_TEST: Duration = Duration::from_secs(300);

/// A session whose kernels were all right.
#[derive(Debug)]
pub(super) struct Sound {
    browser: String,
    report: PageReport,
}

impl Sound {
    /// What a self-test found, if nothing is wrong with it.
    fn of(browser: &str, report: &PageReport) -> Option<Sound> {
        let engine = &report.engine;
        let is_sound = report.unsupported.is_none()
            && !report.checks.is_empty()
            && report.failure().is_none()
            && engine.refused.is_empty()
            && engine.hosted.is_empty();
        is_sound.then(|| Sound { browser: browser.to_owned(), report: report.clone() })
    }

    /// Whether its findings hold for a page that says this of itself.
    fn holds_for(&self, browser: &str, page: &PageReport) -> bool {
        let (known, engine) = (&self.report.engine, &page.engine);
        self.browser == browser
            && page.unsupported.is_none()
            && self.report.adapter == page.adapter
            && self.report.capabilities == page.capabilities
            && [&known.version, &known.commit, &known.variant]
                == [&engine.version, &engine.commit, &engine.variant]
    }
}

impl Runner<'_> {
    /// What the page of the worker's session says of the backend of `cell`.
    pub(super) async fn probe(
        &self,
        worker: &mut Worker,
        cell: &Cell,
        bar: &Bar,
    ) -> Result<PageReport, Fault> {
        let backend = cell.backend;
        if let Some((PATIENCE.., fault)) = worker.probes_broken.get(&backend) {
            return Err(Fault { is_fatal: false, ..fault.clone() });
        }
        let found = self.probe_once(worker, cell, bar).await;
        let fault = match found {
            Ok(report) => return Ok(report),
            Err(fault) => Fault { stage: "self-test".into(), ..fault },
        };
        // A driver that dies says nothing about the backend.
        if fault.status != Status::Infra {
            let broken = worker.probes_broken.entry(backend).or_insert((0, fault.clone()));
            *broken = (broken.0 + 1, fault.clone());
        }
        Err(fault)
    }

    async fn probe_once(
        &self,
        worker: &mut Worker,
        cell: &Cell,
        bar: &Bar,
    ) -> Result<PageReport, Fault> {
        let backend = cell.backend;
        self.seat(worker, cell).await?;
        let Worker { seat, sound, .. } = worker;
        let seat = seat.as_mut().expect("it was taken above");
        let info = seat.info();
        let browser = format!("{} {}", info.name, info.version);
        let show = &mut |event: &Event| show(bar, cell, event);
        let limit = self.config.timeout.unwrap_or_default().max(SELF_TEST);
        let mut ask = async |seat: &mut Seat, self_test| match seat
            .ask(&Request::Probe { backend, self_test }, limit, show)
            .await?
        {
            Answer::Probe(report) => Ok(*report),
            _ => Err(mismatch("probe")),
        };
        if let Some(sound) = sound.get(&backend)
            && sound.holds_for(&browser, &ask(seat, false).await?)
        {
            seat.learn(backend, sound.report.clone());
            return Ok(sound.report.clone());
        }
        let report = ask(seat, true).await?;
        if let Some(found) = Sound::of(&browser, &report) {
            sound.insert(backend, found);
        }
        seat.learn(backend, report.clone());
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Adapter, EngineInfo, RefusedKernel, SelfCheck};

    fn report(adapter: &str) -> PageReport {
        PageReport {
            adapter: Some(Adapter { description: adapter.into(), ..Adapter::default() }),
            engine: EngineInfo { variant: "subgroups".into(), ..EngineInfo::default() },
            checks: vec![SelfCheck { op: "add".into(), ..SelfCheck::default() }],
            ..PageReport::default()
        }
    }

    #[test]
    fn a_sound_session_speaks_for_those_like_it_and_for_no_other() {
        let sound = Sound::of("156", &report("H100")).unwrap();
        // Nothing is tested this time, so nothing is said of it.
        let page = PageReport { checks: Vec::new(), ..report("H100") };
        assert!(sound.holds_for("156", &page));
        assert!(!sound.holds_for("157", &page), "another browser");
        assert!(!sound.holds_for("156", &report("SwiftShader")), "a browser that lost its GPU");
        let mut other = page.clone();
        other.engine.variant = String::new();
        assert!(!sound.holds_for("156", &other), "other features");
        let gone = PageReport { unsupported: Some("no adapter".into()), ..page };
        assert!(!sound.holds_for("156", &gone), "no GPU at all");
    }

    #[test]
    fn what_is_not_sound_is_tested_again() {
        let mut refused = report("H100");
        refused.engine.refused.push(RefusedKernel { kernel: "norm".into(), why: "wrong".into() });
        assert!(Sound::of("156", &refused).is_none());
        let mut failed = report("H100");
        failed.checks[0].error = Some("wrong".into());
        assert!(Sound::of("156", &failed).is_none());
        assert!(Sound::of("156", &PageReport::default()).is_none(), "nothing was tested");
    }
}
