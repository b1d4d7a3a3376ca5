//! Where cells run: a browser session or the host, with what its page has said about itself.

use crate::{
    browser::{Launch, SessionOptions, Target},
    cases::Case,
    grid::Grid,
    native,
    server::Server,
    session::{Fault, Session},
};
use anyhow::Result;
use record::{Answer, Backend, Browser, BrowserInfo, Event, PageReport, Request};
use std::{collections::HashMap, time::Duration};

pub(super) struct Seat {
    place: Place,
    reports: HashMap<Backend, PageReport>,
}

enum Place {
    Page(Box<Session>),
    Host,
}

impl Seat {
    pub(super) async fn open(
        target: &Target,
        options: SessionOptions,
        grid: Option<&Grid>,
        page_url: &str,
    ) -> Result<Seat> {
        let place = match (target.id.family, grid) {
            (Browser::Host, _) => Place::Host,
            (browser, Some(grid)) => {
                Place::Page(Box::new(Session::open_on(grid, browser, options, page_url).await?))
            }
            (_, None) => {
                let launch = Launch::of_target(target, options)?;
                Place::Page(Box::new(Session::open(&launch, options, page_url).await?))
            }
        };
        Ok(Seat { place, reports: HashMap::new() })
    }

    pub(super) fn info(&self) -> BrowserInfo {
        match &self.place {
            Place::Page(session) => session.info().clone(),
            Place::Host => BrowserInfo { name: "host".into(), ..BrowserInfo::default() },
        }
    }

    /// What the probe of `backend` found in this session, if there was one.
    pub(super) fn report(&self, backend: Backend) -> Option<&PageReport> {
        self.reports.get(&backend)
    }

    pub(super) fn learn(&mut self, backend: Backend, report: PageReport) {
        self.reports.insert(backend, report);
    }

    pub(super) fn case_url(&self, case: &Case, server: &Server) -> String {
        match self.place {
            Place::Page(_) => server.case_url(&case.name),
            Place::Host => case.folder.to_string_lossy().into_owned(),
        }
    }

    pub(super) async fn ask(
        &mut self,
        request: &Request,
        limit: Duration,
        on_event: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Answer, Fault> {
        match &mut self.place {
            Place::Page(session) => session.ask(request, limit, on_event).await,
            Place::Host => native::ask(request, limit, on_event).await,
        }
    }

    pub(super) async fn close(self) {
        if let Place::Page(session) = self.place {
            session.close().await;
        }
    }

    pub(super) async fn kill(self) {
        if let Place::Page(session) = self.place {
            session.kill().await;
        }
    }
}
