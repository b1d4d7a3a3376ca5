//! Answers one request: who am I, what comes of this cell, what does this model say.

use crate::{embedder::Embedder, infer, measure, probe};
use record::{Answer, Request};

/// Answers a request; whatever goes wrong is in the answer.
pub async fn answer(request: Request, embedder: &dyn Embedder) -> Answer {
    match request {
        Request::Probe { backend, self_test } => {
            Answer::Probe(Box::new(probe::probe(backend, self_test, embedder).await))
        }
        Request::Run(request) => Answer::Run(Box::new(measure::run(&request, embedder).await)),
        Request::Infer(request) => Answer::Infer(Box::new(infer::answer(&request, embedder).await)),
    }
}
