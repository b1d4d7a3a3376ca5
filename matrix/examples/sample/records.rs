//! Records in the shape that real runs give, for the example and the tests. None was measured:
//! their run says so, and so does the commit of their engine.

use record::*;
use std::{collections::BTreeMap, sync::Arc};

/// The run that every sample record names.
pub const RUN: &str = "example-data-not-measured";

/// A platform that the samples use.
#[derive(Clone, Copy)]
pub struct Place {
    pub browser: Browser,
    pub backend: Backend,
    /// How many times slower than the first place.
    pub slowness: f64,
}

pub const PLACES: [Place; 4] = [
    Place { browser: Browser::Chrome, backend: Backend::Webgpu, slowness: 1.0 },
    Place { browser: Browser::Chrome, backend: Backend::Wasm, slowness: 0.42 },
    Place { browser: Browser::Firefox, backend: Backend::Webgpu, slowness: 1.35 },
    Place { browser: Browser::Firefox, backend: Backend::Wasm, slowness: 0.51 },
];

/// Class, name, parameters, milliseconds a pass, and whether tokens are generated.
pub const CASES: [(Class, &str, u64, f64, bool); 4] = [
    (Class::Bert, "bert-base-tiny", 112_000, 14.2, false),
    (Class::Bert, "minilm", 22_700_000, 212.0, false),
    (Class::Llama, "llama-gqa", 86_000, 9.7, true),
    (Class::Llama, "smollm2-135m", 134_500_000, 1480.0, true),
];

/// Bits with bits per weight, KL in nats and cosine.
const COSTS: [(u8, f64, f64, f64); 6] = [
    (32, 32.0, 0.0, 1.0),
    (16, 16.0, 2.1e-7, 0.9999998),
    (8, 8.5, 4.4e-5, 0.99996),
    (4, 4.5, 0.0213, 0.9921),
    (3, 3.5, 0.147, 0.9514),
    (2, 2.5, 2.31, 0.6128),
];

/// Every case in every place at every width, with one verdict of each other kind among them.
pub fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for (class, case, weights, ms, decodes) in CASES {
        for place in PLACES {
            for (bits, bpw, kl, cosine) in COSTS {
                let mut record = record(class, case, Bits::Fixed(bits), place, records.len());
                record.outcome =
                    passed(weights, ms * place.slowness, decodes, bits, bpw, kl, cosine);
                if place.backend == Backend::Webgpu
                    && let Some(timing) = &mut record.outcome.timing
                {
                    timing.gpu_samples_ms = timing.samples_ms.iter().map(|ms| ms * 0.9).collect();
                    timing.gpu_median_ms = Some(timing.median_ms * 0.9);
                }
                if place.backend == Backend::Wasm
                    && let Some(memory) = &mut record.outcome.memory
                {
                    memory.gpu_peak_bytes = None;
                }
                records.push(record);
            }
        }
    }
    spoil(&mut records);
    records
}

/// A record without an outcome; `number` spaces the times.
pub fn record(class: Class, case: &str, bits: Bits, place: Place, number: usize) -> Record {
    let (minute, second) = (number / 60 % 60, number % 60);
    let Place { browser, backend, .. } = place;
    Record {
        schema_version: SCHEMA_VERSION,
        run_id: RUN.to_owned(),
        started_at: format!("2026-11-23T0{}:{minute:02}:{second:02}Z", number / 3600 % 10),
        cell: Cell {
            class,
            case: case.to_owned(),
            precision: Precision { scheme: Scheme::Symmetric, ..Precision::of(bits) }.canonical(),
            backend,
            browser,
            axes: Axes::new(),
        },
        environment: Arc::new(environment(browser, backend)),
        outcome: Outcome::default(),
        attempts: 1,
        rounds: 1,
        earlier: vec![],
        shard: None,
        synthetic_weights: false,
        untrained: false,
        duration_ms: 0.0,
        expectation: None,
        repro: format!(
            "harness run --cases {case} --bits {bits} --backends {backend} --browsers {browser}"
        ),
    }
}

fn environment(browser: Browser, backend: Backend) -> Environment {
    let chrome = browser == Browser::Chrome;
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let adapter = (backend == Backend::Webgpu).then(|| Adapter {
        vendor: if chrome { "google".into() } else { String::new() },
        architecture: if chrome { "swiftshader".into() } else { String::new() },
        device: String::new(),
        description: if chrome { "SwiftShader Device (Subzero)" } else { "llvmpipe (LLVM 19.1.7)" }
            .into(),
        software: Some(true),
        features: strings(&["timestamp-query", if chrome { "subgroups" } else { "shader-f16" }]),
        limits: BTreeMap::from([
            ("maxBufferSize".to_owned(), 4_294_967_292),
            ("maxComputeInvocationsPerWorkgroup".to_owned(), 256),
            ("maxComputeWorkgroupStorageSize".to_owned(), 16_384),
            ("maxStorageBufferBindingSize".to_owned(), 134_217_728),
        ]),
    });
    let (name, version, driver, driver_version) = if chrome {
        ("chrome", "156.0.7612.52", "chromedriver", "156.0.7612.52")
    } else {
        ("firefox", "153.0", "geckodriver", "0.37.0")
    };
    Environment {
        browser: BrowserInfo {
            name: name.into(),
            version: version.into(),
            driver: driver.into(),
            driver_version: driver_version.into(),
            headless: true,
            flags: strings(if chrome {
                &["--headless=new", "--enable-unsafe-webgpu"]
            } else {
                &["dom.webgpu.enabled=true"]
            }),
        },
        adapter,
        host: Host {
            os: "Debian GNU/Linux 12".into(),
            kernel: "6.1.0".into(),
            cpu: "Example CPU @ 2.60GHz".into(),
            cores: 2,
            memory_bytes: 8_589_934_592,
        },
        engine: EngineInfo {
            version: "0.1.0".into(),
            commit: "example".into(),
            variant: if backend == Backend::Wasm { "simd128" } else { "plain" }.into(),
            tried: vec![VariantTrial {
                variant: if backend == Backend::Wasm { "simd128" } else { "plain" }.into(),
                checks: 92,
                failure: None,
            }],
            ..Default::default()
        },
        capabilities: Some(Capabilities {
            wgsl_language_features: strings(&["packed_4x8_integer_dot_product"]),
            wasm: [("memory64", true), ("simd", true), ("jspi", chrome)]
                .map(|(name, valid)| (name.to_owned(), valid))
                .into(),
            storage: Storage {
                opfs: true,
                opfs_sync: true,
                cache_api: true,
                quota_bytes: Some(10_737_418_240),
            },
            timer_resolution_ms: Some(if chrome { 0.005 } else { 0.02 }),
            cross_origin_isolated: true,
            hardware_concurrency: 2,
            device_memory_gib: chrome.then_some(8.0),
            webnn: None,
        }),
    }
}

fn passed(
    weights: u64,
    ms: f64,
    decodes: bool,
    bits: u8,
    bpw: f64,
    kl: f64,
    cosine: f64,
) -> Outcome {
    let ms = ms * (0.55 + f64::from(bits) / 40.0);
    let samples: Vec<_> =
        [0.97, 1.0, 1.06, 0.99, 1.02, 0.98, 1.13].iter().map(|share| ms * share).collect();
    let weights_bytes = (weights as f64 * bpw / 8.0) as u64;
    let has_logits = decodes;
    Outcome {
        status: Status::Pass,
        correctness: Some(Correctness {
            kernel_rel_l2: Some(1.9e-7 * (40.0 - f64::from(bits))),
            kernel_max_abs: Some(4.8e-6),
            reference_rel_l2: Some((1.0 - cosine).sqrt() + 3.0e-7),
            cosine: Some(cosine),
            kl: has_logits.then_some(kl),
            top1_agreement: has_logits.then_some(1.0 - (kl / 4.0).min(0.9)),
            generated_match: decodes.then_some(if kl < 0.01 { 1.0 } else { 0.3125 / (1.0 + kl) }),
            judged_positions: None,
        }),
        memory: Some(Memory {
            weights_fp16_bytes: weights * 2,
            weights_bytes,
            bpw,
            kv_bytes: if decodes { weights / 16 } else { 0 },
            gpu_peak_bytes: Some(weights_bytes + weights / 3 + 65_536),
            wasm_heap_bytes: Some(19_922_944),
        }),
        timing: Some(Timing {
            load_ms: weights as f64 / 51_000.0 + 21.0,
            compile_ms: 184.0,
            median_ms: ms,
            ci95_ms: Some([samples[0], samples[2]]),
            samples_ms: samples,
            prefill_tps: decodes.then_some(5000.0 / ms),
            decode_tps: decodes.then_some(7100.0 / ms),
            ..Timing::default()
        }),
        ..Outcome::default()
    }
}

/// Gives single cells the other verdicts, and one cell an earlier record.
fn spoil(records: &mut Vec<Record>) {
    let at = |records: &[Record], case: &str, browser, backend, bits| {
        let of = |cell: &Cell| (cell.case.clone(), cell.browser, cell.backend, cell.precision.bits);
        let wanted = (case.to_owned(), browser, backend, Bits::Fixed(bits));
        records.iter().position(|record| of(&record.cell) == wanted).expect("a sample cell")
    };
    use {Backend::*, Browser::*};
    let verdicts = [
        (
            "smollm2-135m",
            Firefox,
            Webgpu,
            32,
            Status::Unsupported,
            "load",
            "a weight of 113 MB needs 227 MB at 32 bits; the adapter binds at most 134 MB",
        ),
        ("smollm2-135m", Firefox, Webgpu, 16, Status::Timeout, "measure", "no answer within 120 s"),
        ("smollm2-135m", Chrome, Wasm, 32, Status::Crash, "load", "the tab crashed: out of memory"),
        (
            "llama-gqa",
            Firefox,
            Webgpu,
            3,
            Status::Error,
            "compile",
            "the device failed in matvec_q3: Shader validation error",
        ),
        (
            "minilm",
            Firefox,
            Webgpu,
            8,
            Status::Infra,
            "session",
            "geckodriver exited before it listened; run again, or see its log",
        ),
        ("minilm", Firefox, Wasm, 2, Status::Skip, "plan", "skipped by the configuration"),
    ];
    for (case, browser, backend, bits, status, stage, message) in verdicts {
        let index = at(records, case, browser, backend, bits);
        records[index].outcome = Outcome::without_figures(status, stage, message);
        if status == Status::Infra {
            Arc::make_mut(&mut records[index].environment).adapter = None;
        }
    }
    let index = at(records, "minilm", Chrome, Wasm, 3);
    records[index].outcome.status = Status::Flaky;
    records[index].attempts = 2;
    records[index].earlier = vec![Attempt {
        status: Status::Crash,
        reason: Some("the browser is gone".into()),
        duration_ms: 812.0,
    }];
    let index = at(records, "llama-gqa", Firefox, Webgpu, 2);
    let failed = &mut records[index].outcome;
    failed.status = Status::Fail;
    failed.reason = Some("kernel error 0.0412 is over the tolerance 0.001".into());
    if let Some(correctness) = &mut failed.correctness {
        correctness.kernel_rel_l2 = Some(0.0412);
        correctness.kernel_max_abs = Some(1.77);
    }
    // A browser that looks for finished work every 100 ms, and a page that was hidden.
    let index = at(records, "llama-gqa", Firefox, Webgpu, 4);
    if let Some(timing) = &mut records[index].outcome.timing {
        timing.samples_ms = vec![100.2; 7];
        (timing.median_ms, timing.ci95_ms) = (100.2, Some([100.2, 100.2]));
    }
    let index = at(records, "llama-gqa", Chrome, Wasm, 8);
    records[index].outcome.hidden = true;
    let index = at(records, "minilm", Chrome, Webgpu, 4);
    records[index].outcome.energy = Some(Energy { joules: 12.4, source: EnergySource::Estimated });
    let mut earlier = records[index].clone();
    earlier.started_at = "2026-11-22T21:14:09Z".into();
    earlier.outcome = Outcome::without_figures(
        Status::Error,
        "forward",
        "the device failed in softmax: device lost\nat encode (ops/softmax.rs:88)",
    );
    records.push(earlier);
}
