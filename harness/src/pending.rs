//! PENDING: the engine's native entry point, behind the signature agreed on. When the crate has it,
//! delete this file and its line in `lib.rs`, and `use crate::pending::engine` in `native.rs`.

pub(crate) mod engine {
    use record::{Answer, Event, Outcome, PageReport, Request, Status};

    const ABSENT: &str = "this build has no native engine";

    pub(crate) fn answer_blocking(request: Request, _emit: &mut dyn FnMut(Event)) -> Answer {
        match request {
            Request::Probe { .. } => Answer::Probe(PageReport {
                unsupported: Some(ABSENT.into()),
                ..PageReport::default()
            }),
            Request::Run(_) => {
                Answer::Run(Outcome::without_figures(Status::Unsupported, "probe", ABSENT))
            }
        }
    }
}
