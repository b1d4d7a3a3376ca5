//! Who the page is: what it can do, its adapter, and whether the kernels are right on it.

use crate::{
    device::Device,
    embedder::Embedder,
    error::Error,
    open::{self, NO_WEBNN_KERNELS},
    selftest,
};
use record::{Backend, EngineInfo, Event, PageReport, Webnn};

/// Looks at `backend`, and checks every op on it if `self_test` is set.
pub(crate) async fn probe(
    backend: Backend,
    self_test: bool,
    embedder: &dyn Embedder,
) -> PageReport {
    embedder.emit(Event::Stage { stage: "self-test".to_owned() });
    let mut report = PageReport {
        engine: engine_info(None),
        capabilities: embedder.capabilities().await,
        ..PageReport::default()
    };
    if backend == Backend::Webnn {
        probe_webnn(&mut report, embedder).await;
        return report;
    }
    match open::device(backend, None, embedder).await {
        Ok(device) => {
            report.engine = engine_info(Some(&device));
            if self_test {
                let verdicts = selftest::run(&device).await;
                report.checks = verdicts.checks;
                report.engine.tried = vec![verdicts.trial];
                report.engine.refused = verdicts.refused;
                report.engine.hosted = verdicts.hosted;
            }
            if let Device::Gpu(gpu) = device {
                report.adapter = Some(gpu.description().clone());
            }
        }
        Err(error) => report.unsupported = Some(reason(error)),
    }
    report
}

async fn probe_webnn(report: &mut PageReport, embedder: &dyn Embedder) {
    match embedder.webnn().await {
        Ok(webnn) => {
            report.unsupported = Some(reason_of(&webnn));
            report.capabilities.get_or_insert_default().webnn = Some(webnn);
        }
        Err(error) => report.unsupported = Some(reason(error)),
    }
}

/// What is missing, without the words that the status of the record says already.
fn reason(error: Error) -> String {
    match error {
        Error::Unsupported { message } => message,
        other => other.to_string(),
    }
}

/// Why nothing runs on this WebNN, which is told apart from what the browser itself refuses.
fn reason_of(webnn: &Webnn) -> String {
    let given = webnn.contexts.iter().filter(|context| context.error.is_none());
    let given: Vec<String> = given
        .map(|context| {
            let ops = context.ops.len();
            format!("{} ({ops} ops, {})", context.device_type, context.data_types.join(" "))
        })
        .collect();
    if !given.is_empty() {
        return format!("{NO_WEBNN_KERNELS}; a context is given: {}", given.join(", "));
    }
    let mut errors: Vec<&str> =
        webnn.contexts.iter().filter_map(|context| context.error.as_deref()).collect();
    errors.dedup();
    format!("navigator.ml.createContext: {}", errors.join("; "))
}

/// Which engine this is, and with a device what its kernels have at their disposal.
pub fn engine_info(device: Option<&Device>) -> EngineInfo {
    EngineInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("ENGINE_COMMIT").unwrap_or("unknown").to_owned(),
        variant: device.map(Device::variant).unwrap_or_default(),
        ..EngineInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::WebnnContext;

    fn refused(device_type: &str, error: &str) -> WebnnContext {
        let (device_type, error) = (device_type.into(), Some(error.into()));
        WebnnContext { device_type, error, ..WebnnContext::default() }
    }

    #[test]
    fn what_the_browser_refuses_is_said_once() {
        let error = "NotSupportedError: WebNN is not supported";
        let contexts = ["cpu", "gpu", "npu"].map(|device| refused(device, error)).to_vec();
        let expected = format!("navigator.ml.createContext: {error}");
        assert_eq!(reason_of(&Webnn { contexts }), expected);
    }

    #[test]
    fn a_context_that_is_given_does_not_make_kernels() {
        let given = WebnnContext {
            device_type: "cpu".into(),
            ops: vec!["add".into(), "matmul".into()],
            data_types: vec!["float16".into(), "float32".into()],
            ..WebnnContext::default()
        };
        let webnn = Webnn { contexts: vec![given, refused("npu", "NotSupportedError: no NPU")] };
        assert_eq!(
            reason_of(&webnn),
            "the engine has no WebNN kernels; a context is given: cpu (2 ops, float16 float32)"
        );
    }
}
