//! Runs one cell in this process and prints its outcome: `cell FOLDER BITS BACKEND`.
use record::*;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = std::path::Path::new(&args[0]);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            CaseFile {
                name: e.file_name().into_string().unwrap(),
                bytes: std::fs::metadata(e.path()).unwrap().len(),
            }
        })
        .collect();
    let class = folder
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap_or(if args[0].contains("smollm2") { Class::Llama } else { Class::Bert });
    let cell = Cell {
        class,
        case: args[0].clone(),
        bits: args[1].parse().unwrap(),
        scheme: args.get(3).map_or(Scheme::Auto, |s| s.parse().unwrap()),
        group_size: 32,
        backend: args[2].parse().unwrap(),
        browser: Browser::Host,
    };
    let request = Request::Run(RunRequest {
        cell,
        case_url: args[0].clone(),
        files,
        repeat: 1,
        warmup: 0,
        max_new_tokens: None,
    });
    let t = std::time::Instant::now();
    let answer = engine::answer_blocking(request, &mut |_| {});
    let Answer::Run(o) = answer else { panic!() };
    println!(
        "{} {:?} {:?} corr={:?} bpw={:?} t={:?} {:.1}s",
        args[..3].join(" "),
        o.status,
        o.message.or(o.reason),
        o.correctness,
        o.memory.map(|m| (m.bpw, m.weights_bytes)),
        o.timing.map(|t| (t.load_ms, t.median_ms, t.prefill_tps, t.decode_tps)),
        t.elapsed().as_secs_f64()
    );
    println!("   {:?}", o.generated_ids);
}
