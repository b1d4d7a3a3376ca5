//! Answers one request: who am I, what comes of this cell, what does this model say,
//! how fast is this op.

#[cfg(feature = "infer")]
use crate::infer;
use crate::{bench, embedder::Embedder, measure, probe};
use record::{Answer, Request};

/// Answers a request; whatever goes wrong is in the answer.
pub async fn answer(request: Request, embedder: &dyn Embedder) -> Answer {
    match request {
        Request::Probe { backend, self_test } => {
            Answer::Probe(Box::new(probe::probe(backend, self_test, embedder).await))
        }
        Request::Run(request) => Answer::Run(Box::new(measure::run(&request, embedder).await)),
        Request::Bench(request) => Answer::Bench(Box::new(bench::run(&request, embedder).await)),
        #[cfg(feature = "infer")]
        Request::Infer(request) => Answer::Infer(Box::new(infer::answer(&request, embedder).await)),
        #[cfg(not(feature = "infer"))]
        Request::Infer(_) => Answer::Infer(Box::new(record::Inference {
            engine: probe::engine_info(None),
            error: Some("this engine runs cells; another of the page answers questions".to_owned()),
            ..Default::default()
        })),
    }
}
